// Package connectscreen is what "lastcall connect" shows of a workflow: lines for a person, or JSON for a program.
package connectscreen

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"charm.land/lipgloss/v2"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
	"github.com/lastcall-go/lastcall/transport/client"
	"github.com/lastcall-go/lastcall/transport/client/workdir"
	"github.com/lastcall-go/lastcall/transport/printable"
)

const (
	maxWords    = 2000 // bytes of an agent's words
	maxObject   = 100  // cells of an action's object
	maxDiff     = 40   // lines of a change that is asked about
	maxDiffLine = 160  // cells of each
)

// Screen shows what happens. Its methods may be called at the same time.
type Screen struct {
	mu     sync.Mutex
	out    io.Writer
	json   bool
	paint  bool
	closed time.Time // since when there is no connection. Zero: there is one, or was none yet
	said   string    // the agent's last words
}

// New shows on out: as JSON, a line for each event, or for a person, with colours where out is a terminal and NO_COLOR
// is not set.
func New(out io.Writer, asJSON bool) *Screen {
	return &Screen{out: out, json: asJSON, paint: !asJSON && terminal.Is(out) && os.Getenv("NO_COLOR") == ""}
}

// Event shows an event of the client.
func (s *Screen) Event(event client.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e := event.(type) {
	case client.Connected:
		s.connected(e)
	case client.Received:
		if checkpoint := e.Action.GetNewCheckpoint(); checkpoint != nil {
			s.checkpoint(checkpoint.GetStatus(), wordsOf(checkpoint), checkpoint.GetErrors())
		}
	case client.Closed:
		s.lose()
		s.show(jsonClosed{"closed", e.Code, e.Reason}, "%s %s", s.style(yellow, "closed"), strings.TrimSpace(fmt.Sprint(e.Code, " ", terminal.OneLine(e.Reason))))
	case client.Reconnecting:
		s.lose()
		why := operator.ExplainURL(e.Cause).Error()
		s.show(jsonReconnecting{"reconnecting", e.Attempt, actors.Seconds(e.Delay), why},
			"%s in %v (attempt %d): %s", s.style(yellow, "connecting again"), e.Delay.Round(time.Millisecond), e.Attempt, terminal.OneLine(why))
	}
}

func (s *Screen) lose() {
	if s.closed.IsZero() {
		s.closed = time.Now()
	}
}

func (s *Screen) connected(e client.Connected) {
	if s.closed.IsZero() {
		s.show(jsonConnected{"connected", e.WorkflowID, 0}, "%s, workflow %s", s.style(green, "connected"), terminal.OneLine(e.WorkflowID))
		return
	}
	away := time.Since(s.closed)
	s.closed = time.Time{}
	s.show(jsonConnected{"connected", e.WorkflowID, actors.Seconds(away)}, "%s after %v, the workflow goes on", s.style(green, "connected again"), about(away))
}

// checkpoint shows the agent's words. Checkpoints come often; words that were shown are not shown again.
func (s *Screen) checkpoint(status, words string, errors []string) {
	if len(words) > maxWords {
		words = actors.CutText(words, maxWords) + "…"
	}
	if words == s.said && len(errors) == 0 {
		return
	}
	s.said = words
	text := cmp.Or(words, status)
	for _, e := range errors {
		text += "; error: " + e
	}
	s.show(jsonCheckpoint{"checkpoint", status, words, errors}, "%s %s", s.style(bold, "agent "), printable.Line(text))
}

// Done shows an action that was answered: "read   src/main.go  2.1 KiB  3ms".
func (s *Screen) Done(done workdir.Done) {
	s.mu.Lock()
	defer s.mu.Unlock()
	verb, object := describe(done.Action)
	failure, result := "", done.Result
	switch {
	case done.Declined():
		failure, result = done.Err.Error(), s.style(yellow, "declined")
	case done.Err != nil:
		failure = done.Err.Error()
		result = s.style(red, "failed: "+terminal.OneLine(failure))
	}
	line := fmt.Sprintf("%-6s %s", printable.Line(verb), terminal.FitCell(printable.Line(object), maxObject))
	for _, part := range []string{result, s.style(faint, about(done.Took))} {
		line = strings.TrimRight(line, " ") + terminal.Suffix("  ", part)
	}
	s.show(jsonAction{"action", verb, object, done.Result, failure, actors.Seconds(done.Took)}, "%s", line)
}

// Question is what is asked: the change that an action makes, and whether it may be made.
func (s *Screen) Question(question workdir.Question) string {
	var text strings.Builder
	lines := strings.Split(strings.TrimSuffix(question.Diff, "\n"), "\n")
	if question.Diff == "" {
		lines = nil
	}
	for i, line := range lines {
		if i == maxDiff {
			fmt.Fprintf(&text, "  and %d more lines\n", len(lines)-maxDiff)
			break
		}
		colour := faint
		switch {
		case strings.HasPrefix(line, "+"):
			colour = green
		case strings.HasPrefix(line, "-"):
			colour = red
		}
		text.WriteString("  " + s.style(colour, terminal.FitCell(printable.Line(line), maxDiffLine)) + "\n")
	}
	text.WriteString(question.Text)
	return text.String()
}

// show writes a line, or the same as JSON.
func (s *Screen) show(asJSON any, format string, args ...any) {
	if s.json {
		_ = terminal.WriteJSON(s.out, asJSON)
		return
	}
	fmt.Fprintf(s.out, format+"\n", args...)
}

// The styles of a line.
var (
	bold   = lipgloss.NewStyle().Bold(true)
	faint  = lipgloss.NewStyle().Faint(true)
	red    = lipgloss.NewStyle().Foreground(lipgloss.Red)
	green  = lipgloss.NewStyle().Foreground(lipgloss.Green)
	yellow = lipgloss.NewStyle().Foreground(lipgloss.Yellow)
)

func (s *Screen) style(style lipgloss.Style, text string) string {
	if !s.paint {
		return text
	}
	return style.Render(text)
}

// about is a duration that a person reads.
func about(d time.Duration) string {
	if d >= time.Second {
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Millisecond).String()
}

// The lines of JSON.
type (
	jsonConnected struct {
		Event    string         `json:"event"`
		Workflow string         `json:"workflow"`
		Away     actors.Seconds `json:"away_seconds,omitempty"` // how long there was no connection
	}
	jsonAction struct {
		Event  string         `json:"event"`
		Verb   string         `json:"verb"`
		Object string         `json:"object"`
		Result string         `json:"result,omitempty"`
		Error  string         `json:"error,omitempty"`
		Took   actors.Seconds `json:"took_seconds"`
	}
	jsonCheckpoint struct {
		Event   string   `json:"event"`
		Status  string   `json:"status"`
		Message string   `json:"message"`
		Errors  []string `json:"errors,omitempty"`
	}
	jsonClosed struct {
		Event  string `json:"event"`
		Code   int    `json:"code"`
		Reason string `json:"reason"`
	}
	jsonReconnecting struct {
		Event   string         `json:"event"`
		Attempt int            `json:"attempt"`
		Delay   actors.Seconds `json:"delay_seconds"`
		Cause   string         `json:"cause"`
	}
)
