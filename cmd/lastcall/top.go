package main

import (
	"context"
	"errors"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"

	"github.com/lastcall-go/lastcall/cmd/lastcall/dumbterm"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

// The package of main is initialized last, after bubbletea.
var _ = dumbterm.Restore()

// topCmd is the flags of "lastcall top".
type topCmd struct {
	adminFlags
}

// Help is shown by "lastcall top --help".
func (*topCmd) Help() string {
	return `It shows the sessions of a gateway as they are each second, and how a drain goes, and can drain one
or all. Of many sessions it asks for those that the screen shows. Press ? for the keys. Colours are left
out where NO_COLOR is set.

Exit codes: 0 ended with q or Ctrl-C; 1 the gateway can't be asked at the start; 2 a flag is wrong, or
there is no terminal.

Example:
  lastcall top --admin 127.0.0.1:8081`
}

// Run implements the command.
func (c *topCmd) Run(std streams) error {
	ctx, stop := untilInterrupted()
	defer stop()
	return c.run(ctx, std)
}

func (c *topCmd) run(ctx context.Context, std streams) error {
	in, reads := terminalOf(std.in)
	out, writes := terminalOf(std.out)
	if !reads || !writes {
		return usageError{errors.New("top needs a terminal: 'lastcall sessions' prints the sessions anywhere")}
	}
	gateway, err := c.open()
	if err != nil {
		return err
	}
	defer gateway.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if _, err := gateway.State(ctx); err != nil { // later it goes on trying
		return explainAdmin(err)
	}
	model := newTopModel(topGateway{ctx, gateway}, oneLine(c.Admin), lipgloss.NewRenderer(out))
	model.width, model.height = screenSize(out)
	program := tea.NewProgram(model, tea.WithInput(in), tea.WithOutput(out), tea.WithAltScreen(), tea.WithoutSignalHandler())
	quitting := context.AfterFunc(ctx, program.Quit) // its own WithContext leaves the terminal's reader behind
	defer quitting()
	_, err = program.Run()
	return err
}

// topGateway makes the commands of the model: all that it does besides deciding and drawing.
type topGateway struct {
	ctx     context.Context
	gateway *adminapi.Client
}

// topLooked is how a look at the gateway came out.
type topLooked struct {
	from     int // which of the sessions is the first of these
	sessions *adminapi.Sessions
	state    *adminapi.State
	err      error
	at       time.Time
}

func (g topGateway) look(from int, query adminapi.Query) tea.Cmd {
	return func() tea.Msg {
		sessions, state, err := lookAt(g.ctx, g.gateway, query)
		return topLooked{from, sessions, state, err, time.Now()}
	}
}

// topTick says that it is time for the next look.
type topTick int

// wait ends with the context: bubbletea leaves commands alone when it ends.
func (g topGateway) wait(tick topTick) tea.Cmd {
	return func() tea.Msg {
		pause := time.NewTimer(watchPause)
		defer pause.Stop()
		select {
		case <-pause.C:
		case <-g.ctx.Done():
		}
		return tick
	}
}

// topDone is how what the user asked for came out.
type topDone struct {
	what string
	err  error
}

func (g topGateway) drainSession(id string) tea.Cmd {
	return func() tea.Msg {
		_, err := g.gateway.DrainSession(g.ctx, id, adminapi.DrainOptions{})
		return topDone{"draining " + id, err}
	}
}

func (g topGateway) drainAll() tea.Cmd {
	return func() tea.Msg {
		_, err := g.gateway.Drain(g.ctx, adminapi.DrainOptions{})
		return topDone{"draining all", err}
	}
}

func (g topGateway) resume() tea.Cmd {
	return func() tea.Msg {
		_, err := g.gateway.Resume(g.ctx)
		return topDone{"resuming", err}
	}
}

// topKeys are the keys that a message of the terminal stands for: several where they were typed faster
// than read. What was pasted is text alone: it must not press keys.
func topKeys(msg tea.KeyMsg) (keys []string, pasted bool) {
	if msg.Type != tea.KeyRunes || msg.Alt {
		return []string{msg.String()}, false
	}
	for _, r := range msg.Runes {
		keys = append(keys, string(r))
	}
	return keys, msg.Paste
}
