package fleet

import (
	"context"
	"io"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
)

// Watch shows a fleet on a terminal, anew each second, until the user ends it with q or Ctrl-C, or ctx is done.
func Watch(ctx context.Context, fleet Fleet, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	model := &watchModel{ctx: ctx, fleet: fleet}
	model.width, model.height = terminal.Size(out)
	program := tea.NewProgram(model, tea.WithInput(in), tea.WithOutput(out), tea.WithoutSignalHandler())
	defer context.AfterFunc(ctx, program.Quit)()
	_, err := program.Run()
	return err
}

// watchModel is the screen.
type watchModel struct {
	ctx           context.Context
	fleet         Fleet
	all           []Standing // nil: none has answered yet
	width, height int
}

type looked []Standing

type lookAgain struct{}

// Init implements [tea.Model].
func (m *watchModel) Init() tea.Cmd { return m.look() }

// Update implements [tea.Model].
func (m *watchModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tea.KeyPressMsg:
		if key := msg.String(); key == "q" || key == "ctrl+c" {
			return m, tea.Quit
		}
	case looked:
		m.all = msg
		return m, m.pause()
	case lookAgain:
		return m, m.look()
	}
	return m, nil
}

// View implements [tea.Model].
func (m *watchModel) View() tea.View {
	text := "asking " + terminal.Counted(len(m.fleet), "instance")
	if m.all != nil {
		text = Screen(m.all, time.Now(), m.width, m.height)
	}
	view := tea.NewView(text)
	view.AltScreen = true
	return view
}

func (m *watchModel) look() tea.Cmd {
	sessions := shownSessions(len(m.fleet), m.height)
	return func() tea.Msg { return looked(m.fleet.Look(m.ctx, sessions)) }
}

func (m *watchModel) pause() tea.Cmd {
	return func() tea.Msg {
		select {
		case <-time.After(operator.WatchPause):
		case <-m.ctx.Done():
		}
		return lookAgain{}
	}
}
