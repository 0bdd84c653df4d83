package top

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
	"github.com/lastcall-go/lastcall/transport/history"
)

// Options is what top shows.
type Options struct {
	Gateway *adminapi.Client
	Name    string         // of the gateway
	Only    adminapi.Query // the sessions that are shown. Zero: all
}

// Run shows a gateway on a terminal until the user ends it, or ctx is done. It fails where the gateway can't be
// asked at first; later it goes on trying. in and out are a terminal.
func Run(ctx context.Context, shown Options, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if _, err := shown.Gateway.State(ctx); err != nil {
		return err
	}
	model := newTopModel(topGateway{ctx, shown.Gateway, shown.Only}, terminal.OneLine(shown.Name))
	model.width, model.height = terminal.Size(out)
	program := tea.NewProgram(model, tea.WithInput(in), tea.WithOutput(out), tea.WithoutSignalHandler())
	quitting := context.AfterFunc(ctx, program.Quit) // its own WithContext leaves the terminal's reader behind
	defer quitting()
	_, err := program.Run()
	return err
}

// topGateway makes the commands of the model: all that it does besides deciding and drawing.
type topGateway struct {
	ctx     context.Context
	gateway *adminapi.Client
	only    adminapi.Query // what is shown of it
}

// topLooked is how a look at the gateway came out.
type topLooked struct {
	from     int // which of the sessions is the first of these
	sessions *adminapi.Sessions
	state    *adminapi.State
	past     *history.View // nil: not asked for, or the gateway keeps none
	asked    string        // the session that was asked for alone
	session  *adminapi.Session
	err      error
	at       time.Time
}

// topLook is what is looked at.
type topLook struct {
	query   adminapi.Query
	past    bool   // the last hour, too
	session string // and this session alone. Empty: none
}

func (g topGateway) look(from int, what topLook) tea.Cmd {
	all := g.only
	all.Text, all.Sort, all.Offset, all.Limit = what.query.Text, what.query.Sort, what.query.Offset, what.query.Limit
	all.Phase = cmp.Or(what.query.Phase, all.Phase)
	return func() tea.Msg {
		l := topLooked{from: from, asked: what.session}
		l.sessions, l.state, l.err = operator.LookAt(g.ctx, g.gateway, all)
		if what.past && l.err == nil {
			l.past, _ = g.gateway.History(g.ctx) // an older gateway has none
		}
		if what.session != "" && l.err == nil {
			l.session, l.err = g.gateway.Session(g.ctx, what.session)
			if status := new(adminapi.StatusError); errors.As(l.err, &status) && status.Status == http.StatusNotFound {
				l.err = nil // it has ended
			}
		}
		l.at = time.Now()
		return l
	}
}

// topTick says that it is time for the next look.
type topTick int

// wait ends with the context: bubbletea leaves commands alone when it ends.
func (g topGateway) wait(tick topTick) tea.Cmd {
	return func() tea.Msg {
		pause := time.NewTimer(operator.WatchPause)
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

// keyOf is the name of a key, or the character that it types.
func keyOf(msg tea.KeyPressMsg) string {
	if msg.Text != "" {
		return msg.Text
	}
	return msg.String()
}
