package top

import (
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
	"charm.land/lipgloss/v2"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
)

// topChrome is how many lines are not sessions: three above the table, its header, and the last.
const topChrome = 5

// topStyle is how lines look where the terminal has colours. Nothing is said by a colour alone.
type topStyle struct {
	title, header, selected, drain, bad lipgloss.Style
}

func newTopStyle() topStyle {
	return topStyle{
		title:    lipgloss.NewStyle().Bold(true),
		header:   lipgloss.NewStyle().Underline(true),
		selected: lipgloss.NewStyle().Reverse(true),
		drain:    lipgloss.NewStyle().Foreground(lipgloss.Color("3")),
		bad:      lipgloss.NewStyle().Foreground(lipgloss.Color("1")),
	}
}

// View implements [tea.Model].
func (m *topModel) View() tea.View {
	view := tea.NewView(m.text())
	view.AltScreen = true
	return view
}

// text is what the screen shows.
func (m *topModel) text() string {
	switch m.mode {
	case topHelping:
		return m.whole(topHelp())
	case topDetailing:
		return m.whole(detailLines(&m.details, m.now))
	}
	lines := []string{
		m.style.title.Render(m.line(m.titleText())),
		m.line(m.listText()),
		m.standingLine(),
	}
	return m.fit(append(append(lines, m.table()...), m.lastLine()))
}

// whole are the lines of a screen without a table.
func (m *topModel) whole(lines []string) string {
	for i := range lines {
		lines[i] = m.line(lines[i])
	}
	return m.fit(lines)
}

// fit is what the screen has room for: bubbletea would leave out the first lines.
func (m *topModel) fit(lines []string) string {
	return strings.Join(lines[:max(0, min(len(lines), m.height))], "\n")
}

// line cuts a text to the screen's width, before it is given any colour.
func (m *topModel) line(text string) string { return terminal.FitCell(text, m.width) }

// titleText is "lastcall 127.0.0.1:8081 · serving · 12 sessions: 10 serving, 2 stopping".
func (m *topModel) titleText() string {
	if m.page == nil {
		return "lastcall " + m.address
	}
	state := terminal.OneLine(string(m.state.State))
	if m.state.Final {
		state += ", the process is ending"
	}
	return fmt.Sprintf("lastcall %s · %s · %s", m.address, state, operator.PhasesText(m.page))
}

func (m *topModel) listText() string {
	if m.page == nil {
		return "asking"
	}
	by := topSorts()[m.sort]
	order := "ascending"
	if by.descending != m.reverse {
		order = "descending"
	}
	text := fmt.Sprintf("by %s, %s", by.name, order)
	if m.phase != "" {
		text += " · only " + m.phase
	}
	if m.filter != "" {
		text += fmt.Sprintf(" · %d match %q", m.total(), m.filter)
	}
	if !m.rates.known {
		return text
	}
	text += fmt.Sprintf(" · messages in %.1f/s, out %.1f/s", m.rates.in, m.rates.out)
	if listed := len(m.page.Sessions); listed < m.total() {
		text += fmt.Sprintf(" of %d listed", listed)
	}
	return text
}

// standingLine is what keeps the gateway from serving, if something does, and else the last hour.
func (m *topModel) standingLine() string {
	switch {
	case m.failed != nil && m.page == nil:
		return m.style.bad.Render(m.line("not answered, trying again: " + terminal.OneLine(m.failed.Error())))
	case m.failed != nil:
		return m.style.bad.Render(m.line(fmt.Sprintf("not answered for %v, trying again: %s", m.now.Sub(m.since).Round(time.Second), terminal.OneLine(m.failed.Error()))))
	case m.state == nil:
		return ""
	}
	if d := operator.DrainUnderWay(m.state); d != nil {
		return m.style.drain.Render(operator.DrainLine(d, m.now, m.width))
	}
	if m.state.State == actors.Idle && !m.state.Final {
		return m.style.drain.Render(m.line("drained: new sessions are refused until R"))
	}
	return m.line(trendText(m.past, m.now))
}

// table is the header and as many lines as there is room for, empty ones too.
func (m *topModel) table() []string {
	const mark, noMark = "> ", "  " // a terminal may have no colours
	columns := operator.ColumnsWithin(m.width - len(mark))
	lines := []string{m.style.header.Render(m.line(noMark + operator.HeaderLine(columns)))}
	for i := range m.rows() {
		s := m.session(m.offset + i)
		switch {
		case s == nil:
			lines = append(lines, "")
		case m.offset+i == m.cursor:
			lines = append(lines, m.style.selected.Render(m.line(mark+operator.SessionLine(columns, s, m.now))))
		default:
			lines = append(lines, m.line(noMark+operator.SessionLine(columns, s, m.now)))
		}
	}
	return lines
}

func (m *topModel) lastLine() string {
	switch {
	case m.mode == topConfirming:
		return m.style.title.Render(m.line(m.confirm.question))
	case m.mode == topFiltering:
		return m.line("filter: " + m.filter + "_   (Enter keeps it, Esc ends it)")
	case m.notice != "":
		return m.line(m.notice)
	}
	return m.line("s sort  r reverse  / filter  p phase  Enter details  d drain  ? help  q quit")
}

func topHelp() []string {
	return []string{
		"up, k / down, j   select another session",
		"PgUp / PgDn       a screen up, or down",
		"g / G             the first session, the last",
		"s                 sort by the next of: started, phase, workflow, agent,",
		"                  messages, bytes, last message",
		"r                 turn the order round",
		"p                 show the sessions of one phase, of the next, of any",
		"Enter             all that is known of the selected session; Esc goes back",
		"/                 show those whose id, workflow, address or agent has a text",
		"d                 drain the selected session (asks first)",
		"D                 drain all, and refuse new ones (asks first)",
		"R                 admit sessions again after that",
		"q, Ctrl-C         quit: a drain goes on",
		"",
		"any key           back",
	}
}
