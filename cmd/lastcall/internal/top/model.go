// Package top shows a gateway on a terminal, and takes the keys of its operator.
package top

import (
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
	"github.com/lastcall-go/lastcall/transport/history"
	"github.com/lastcall-go/lastcall/transport/printable"
)

// topModel is what "lastcall top" knows and shows. Update decides, View draws, and what either wants
// done is a command: neither does any I/O, nor asks for the time.
type topModel struct {
	gateway topGateway
	address string
	style   topStyle

	width, height int
	now           time.Time // of the last answer

	sort    int // of topSorts
	reverse bool
	filter  string
	phase   string // only sessions in it. Empty: in any
	cursor  int    // which of all the sessions is selected
	offset  int    // which of them is the first on the screen

	page  *adminapi.Sessions // nil: nothing was answered yet
	from  int                // which of the sessions is the page's first
	state *adminapi.State
	rates topRates

	past    *history.View // the last hour. nil: it is not known
	pastAt  time.Time     // when it was asked for
	details topDetail

	failed error     // nil: the last look was answered
	since  time.Time // when it was answered last

	asking bool    // a look is under way
	stale  bool    // and it is out of date already: look again after it
	tick   topTick // the one that is waited for

	mode    topMode
	confirm topConfirm
	notice  string
}

// topMode is what keys mean.
type topMode int

const (
	topBrowsing topMode = iota
	topFiltering
	topConfirming
	topHelping
	topDetailing
)

// topConfirm is what happens if the answer is yes.
type topConfirm struct {
	question string
	do       func() tea.Cmd
}

// topSort is an order that the gateway knows.
type topSort struct {
	name       string
	descending bool // unless it is reversed
}

func topSorts() []topSort {
	return []topSort{
		{"started", false}, {"phase", false}, {"workflow", false}, {"agent", false},
		{"messages", true}, {"bytes", true}, {"last", true},
	}
}

func newTopModel(gateway topGateway, address string) *topModel {
	return &topModel{gateway: gateway, address: address, style: newTopStyle(), width: 80, height: 24}
}

// Init implements [tea.Model].
func (m *topModel) Init() tea.Cmd { return m.look() }

// Update implements [tea.Model].
func (m *topModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		return m, m.move(0)
	case tea.KeyPressMsg:
		return m, m.key(keyOf(msg))
	case tea.PasteMsg:
		return m, m.paste(msg.Content)
	case topLooked:
		return m, m.looked(msg)
	case topTick:
		if msg == m.tick {
			return m, m.look()
		}
	case topDone:
		m.notice = msg.what
		if msg.err != nil {
			m.notice = msg.what + ": " + terminal.OneLine(msg.err.Error())
		}
		return m, m.look()
	}
	return m, nil
}

// look asks for what is on the screen, and a screen before and after it, so that scrolling has
// something to show. There is one look at a time.
func (m *topModel) look() tea.Cmd {
	if m.asking {
		m.stale = true
		return nil
	}
	m.asking = true
	m.tick++ // the tick that is under way is of no use any more
	rows := m.rows()
	from := max(0, m.offset-rows)
	by := topSorts()[m.sort]
	order := by.name
	if by.descending != m.reverse {
		order = "-" + order
	}
	look := topLook{query: adminapi.Query{Text: m.filter, Phase: m.phase, Sort: order, Offset: from, Limit: 3 * rows}}
	if m.now.IsZero() || m.now.Sub(m.pastAt) >= history.Every {
		m.pastAt, look.past = m.now, true
	}
	if m.mode == topDetailing {
		look.session = m.details.id
	}
	return m.gateway.look(from, look)
}

func (m *topModel) looked(l topLooked) tea.Cmd {
	m.asking = false
	m.now = l.at
	m.failed = l.err
	if l.err == nil {
		m.since = l.at
		m.rates.take(l.sessions.Sessions, l.at)
		m.page, m.from, m.state = l.sessions, l.from, l.state
		if l.past != nil {
			m.past = l.past
		}
		m.seen(l)
		m.keepInView()
	}
	if m.stale || l.err == nil && !m.covered() {
		m.stale = false
		return m.look()
	}
	return m.gateway.wait(m.tick)
}

// seen takes what was seen of the session that is shown alone.
func (m *topModel) seen(l topLooked) {
	if m.mode != topDetailing || l.asked != m.details.id {
		return
	}
	m.details.gone = l.session == nil
	if l.session != nil {
		m.details.session = l.session
	}
}

// rows are how many sessions the screen has room for.
func (m *topModel) rows() int { return max(1, m.height-topChrome) }

func (m *topModel) total() int {
	if m.page == nil {
		return 0
	}
	return m.page.Total
}

// move moves the selection, and asks for what it comes to.
func (m *topModel) move(by int) tea.Cmd {
	m.cursor += by
	m.keepInView()
	if m.page != nil && !m.covered() {
		return m.look()
	}
	return nil
}

// keepInView keeps the selection on a session, and that on the screen.
func (m *topModel) keepInView() {
	m.cursor = max(0, min(m.cursor, m.total()-1))
	m.offset = max(m.cursor-m.rows()+1, min(m.offset, m.cursor))
	m.offset = max(0, min(m.offset, m.total()-m.rows()))
}

// covered reports whether the page has all that is on the screen. A gateway that says there are more
// sessions than it lists is taken at the list.
func (m *topModel) covered() bool {
	last := min(m.offset+m.rows(), m.total())
	return m.from <= m.offset && (last <= m.from+len(m.page.Sessions) || m.from == max(0, m.offset-m.rows()))
}

// session is the one at a place among all. nil: it isn't known.
func (m *topModel) session(i int) *adminapi.Session {
	if m.page == nil || i < m.from || i >= m.from+len(m.page.Sessions) {
		return nil
	}
	return &m.page.Sessions[i-m.from]
}

// paste takes what was pasted for text alone: it must not press keys.
func (m *topModel) paste(text string) tea.Cmd {
	if m.mode != topFiltering {
		return nil
	}
	var cmds []tea.Cmd
	for _, r := range text {
		cmds = append(cmds, m.filterKey(string(r)))
	}
	return tea.Batch(cmds...)
}

func (m *topModel) key(key string) tea.Cmd {
	if key == "ctrl+c" {
		return tea.Quit
	}
	switch m.mode {
	case topFiltering:
		return m.filterKey(key)
	case topConfirming:
		m.mode = topBrowsing
		if key == "y" || key == "Y" {
			return m.confirm.do()
		}
		m.notice = "nothing was drained"
		return nil
	case topHelping:
		m.mode = topBrowsing
		return nil
	case topDetailing:
		return m.detailKey(key)
	}
	m.notice = ""
	if cmd, moves := m.moveKey(key); moves {
		return cmd
	}
	return m.commandKey(key)
}

func (m *topModel) moveKey(key string) (cmd tea.Cmd, moves bool) {
	switch key {
	case "up", "k":
		return m.move(-1), true
	case "down", "j":
		return m.move(1), true
	case "pgup":
		return m.move(-m.rows()), true
	case "pgdown":
		return m.move(m.rows()), true
	case "home", "g":
		return m.move(-m.total()), true
	case "end", "G":
		return m.move(m.total()), true
	}
	return nil, false
}

func (m *topModel) commandKey(key string) tea.Cmd {
	switch key {
	case "q":
		return tea.Quit
	case "?":
		m.mode = topHelping
	case "/":
		m.mode = topFiltering
	case "s":
		m.sort, m.reverse = (m.sort+1)%len(topSorts()), false
		return m.look()
	case "r":
		m.reverse = !m.reverse
		return m.look()
	case "p":
		phases := append([]string{""}, operator.SessionPhases()...)
		m.phase = phases[(slices.Index(phases, m.phase)+1)%len(phases)]
		m.cursor, m.offset = 0, 0
		return m.look()
	case "enter":
		return m.showSession()
	case "d":
		m.askSession()
	case "D":
		m.askAll()
	case "R":
		return m.gateway.resume()
	}
	return nil
}

// showSession shows the selected session alone.
func (m *topModel) showSession() tea.Cmd {
	s := m.session(m.cursor)
	if s == nil {
		m.notice = "no session is selected"
		return nil
	}
	m.mode, m.details = topDetailing, topDetail{id: s.ID, session: s}
	return m.look()
}

func (m *topModel) detailKey(key string) tea.Cmd {
	switch key {
	case "q":
		return tea.Quit
	case "esc", "enter", "backspace":
		m.mode = topBrowsing
	case "d":
		m.askAbout(m.details.session)
	}
	return nil
}

// askSession asks about the session that is selected now, whichever is when the answer comes.
func (m *topModel) askSession() {
	s := m.session(m.cursor)
	if s == nil {
		m.notice = "no session is selected"
		return
	}
	m.askAbout(s)
}

func (m *topModel) askAbout(s *adminapi.Session) {
	id := s.ID
	m.mode = topConfirming
	m.confirm = topConfirm{
		question: fmt.Sprintf("Drain session %s (%s)? y/n", operator.SafeCell(id), operator.SafeCell(operator.NameOf(s))),
		do:       func() tea.Cmd { return m.gateway.drainSession(id) },
	}
}

func (m *topModel) askAll() {
	if m.page == nil {
		m.notice = "the gateway has not answered yet"
		return
	}
	all := operator.SessionsOf(m.page)
	m.mode = topConfirming
	m.confirm = topConfirm{
		question: fmt.Sprintf("Drain all %d %s? New ones are refused until R. y/n", all, terminal.Plural(all, "session")),
		do:       m.gateway.drainAll,
	}
}

// filterKey changes the filter as it is typed.
func (m *topModel) filterKey(key string) tea.Cmd {
	const most = 100
	was := m.filter
	switch key {
	case "enter":
		m.mode = topBrowsing
	case "esc":
		m.mode, m.filter = topBrowsing, ""
	case "backspace":
		_, size := utf8.DecodeLastRuneInString(m.filter)
		m.filter = m.filter[:len(m.filter)-size]
	default:
		r, size := utf8.DecodeRuneInString(key)
		if size == len(key) && printable.Rune(r) && utf8.RuneCountInString(m.filter) < most {
			m.filter += key
		}
	}
	if m.filter == was {
		return nil
	}
	m.cursor, m.offset = 0, 0
	return m.look()
}

// topRates are the messages a second of the sessions that are listed, between two looks.
type topRates struct {
	in, out float64
	known   bool
	at      time.Time
	flows   map[string][2]uint64 // by ID: in, out
}

// take leaves looks out that follow too closely for a rate to mean much.
func (r *topRates) take(sessions []adminapi.Session, at time.Time) {
	passed := at.Sub(r.at)
	if r.flows != nil && passed < operator.WatchPause/2 {
		return
	}
	var in, out uint64
	flows := make(map[string][2]uint64, len(sessions))
	for _, s := range sessions {
		now := [2]uint64{s.Received.Messages, s.Sent.Messages}
		flows[s.ID] = now
		if was, known := r.flows[s.ID]; known && now[0] >= was[0] && now[1] >= was[1] {
			in += now[0] - was[0]
			out += now[1] - was[1]
		}
	}
	*r = topRates{float64(in) / passed.Seconds(), float64(out) / passed.Seconds(), r.flows != nil, at, flows}
}
