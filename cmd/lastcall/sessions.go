package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf16"

	"github.com/lastcall-go/lastcall/actors"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

// sessionsCmd is the flags of "lastcall sessions".
type sessionsCmd struct {
	Phase     string `default:"" enum:",opening,serving,stopping,closing" env:"-" placeholder:"PHASE" help:"Only those in this phase: opening, serving, stopping or closing."`
	Workflow  string `env:"-" placeholder:"ID" help:"Only those of this workflow."`
	Agent     string `env:"-" placeholder:"ADDR" help:"Only those at this agent."`
	Kind      string `env:"-" placeholder:"KIND" help:"Only those of this kind."`
	Principal string `env:"-" placeholder:"NAME" help:"Only those of this principal."`
	JSON      bool   `name:"json" env:"-" help:"Print each session as a line of JSON."`
	Watch     bool   `env:"-" help:"Go on until Ctrl-C: the table anew every second or, where the output is no terminal or with --json, a line for each event of the gateway."`
	adminFlags
}

// Help is shown by "lastcall sessions --help".
func (*sessionsCmd) Help() string {
	return `It lists the sessions of a gateway, the oldest first, and what each one waits for. Under FOR is
how long it has been in its phase, under LAST how long ago a message passed, either way.

With --json it prints the sessions as the admin API has them, one a line. With --watch and --json a
line is an event: {"event":"session-phase","data":{...}}.

Exit codes: 0 listed, or a watch was ended by Ctrl-C; 1 the gateway didn't answer, or ended the
watch; 2 a flag is wrong.

Example:
  lastcall sessions --phase stopping
  lastcall sessions --watch
  lastcall sessions --json --workflow w1`
}

// watchPause is between two looks at a gateway.
const watchPause = time.Second

// Run implements the command.
func (c *sessionsCmd) Run(std streams) error {
	ctx, stop := untilInterrupted()
	defer stop()
	return c.run(ctx, std)
}

func (c *sessionsCmd) run(ctx context.Context, std streams) error {
	gateway, err := c.open()
	if err != nil {
		return err
	}
	defer gateway.Close()
	_, isTerminal := terminalOf(std.out)
	switch {
	case c.Watch && isTerminal && !c.JSON:
		err = c.watch(ctx, gateway, std.out)
	case c.Watch && c.Phase+c.Workflow+c.Agent+c.Kind+c.Principal != "":
		return usageError{errors.New("--phase, --workflow, --agent, --kind and --principal are for the table: a watch without it shows the events of all sessions")}
	case c.Watch:
		err = gateway.Events(ctx, func(e adminapi.Event) error { return c.printEvent(std.out, e) })
	case c.JSON:
		err = c.printJSON(ctx, gateway, std.out)
	default:
		err = c.print(ctx, gateway, std.out)
	}
	if c.Watch && ctx.Err() != nil {
		return nil
	}
	return explainAdmin(err)
}

func (c *sessionsCmd) query() adminapi.Query {
	return adminapi.Query{Phase: c.Phase, Workflow: c.Workflow, Agent: c.Agent, Kind: c.Kind, Principal: c.Principal}
}

func (c *sessionsCmd) print(ctx context.Context, gateway *adminapi.Client, w io.Writer) error {
	sessions, state, err := lookAt(ctx, gateway, c.query())
	if err != nil {
		return err
	}
	now := time.Now()
	lines := append([]string{headline(sessions, state, now), ""}, sessionTable(sessions.Sessions, now)...)
	if len(sessions.Sessions) == 0 {
		lines = lines[:1]
	}
	_, err = fmt.Fprintln(w, strings.Join(lines, "\n"))
	return err
}

func (c *sessionsCmd) printJSON(ctx context.Context, gateway *adminapi.Client, w io.Writer) error {
	sessions, err := gateway.Sessions(ctx, c.query())
	if err != nil {
		return err
	}
	for i := range sessions.Sessions {
		if err := writeJSONLine(w, &sessions.Sessions[i]); err != nil {
			return err
		}
	}
	return nil
}

// lookAt asks for sessions, and for how the gateway stands.
func lookAt(ctx context.Context, gateway *adminapi.Client, query adminapi.Query) (*adminapi.Sessions, *adminapi.State, error) {
	sessions, err := gateway.Sessions(ctx, query)
	if err != nil {
		return nil, nil, err
	}
	state, err := gateway.State(ctx)
	return sessions, state, err
}

// sessionPhases are those that a session can be seen in, in their order.
func sessionPhases() []string { return []string{"opening", "serving", "stopping", "closing"} }

// sessionsOf counts all sessions of a gateway, whatever was asked for.
func sessionsOf(sessions *adminapi.Sessions) int {
	all := 0
	for _, phase := range sessionPhases() {
		all += sessions.Phases[phase]
	}
	return all
}

// phasesText is "12 sessions: 10 serving, 2 stopping".
func phasesText(sessions *adminapi.Sessions) string {
	var phases []string
	for _, phase := range sessionPhases() {
		if n := sessions.Phases[phase]; n > 0 {
			phases = append(phases, fmt.Sprintf("%d %s", n, phase))
		}
	}
	all := sessionsOf(sessions)
	return fmt.Sprintf("%d %s%s", all, plural(all, "session"), suffix(": ", strings.Join(phases, ", ")))
}

// headline is the gateway in a line: "12 sessions: 10 serving, 2 stopping · draining, 12s to the deadline".
func headline(sessions *adminapi.Sessions, state *adminapi.State, now time.Time) string {
	line := phasesText(sessions)
	if sessions.Total != sessionsOf(sessions) {
		line += fmt.Sprintf(" · %d shown", sessions.Total)
	}
	return line + " · " + standing(state, now)
}

// standing is what a gateway does with new sessions, and the drain that is under way.
func standing(state *adminapi.State, now time.Time) string {
	text := oneLine(string(state.State))
	switch {
	case state.State == actors.Idle && !state.Final:
		text = "drained, refuses new sessions until 'lastcall resume'"
	case state.Final:
		text += ", the process is ending"
	}
	if d := drainUnderWay(state); d != nil {
		what := "drain"
		if d.Part {
			what = "drain of a part"
		}
		text += " · " + what + " " + drainText(d, now)
	}
	return text
}

// drainUnderWay is that of everything, if there is one, or else the latest of a part. nil: none is.
func drainUnderWay(state *adminapi.State) *adminapi.Drain {
	var under *adminapi.Drain
	for i := range state.Drains {
		if d := &state.Drains[i]; !d.Over && (under == nil || under.Part) {
			under = d
		}
	}
	return under
}

// watch draws the table every second. It fails where the first look does; after that it goes on,
// and says what is wrong.
func (c *sessionsCmd) watch(ctx context.Context, gateway *adminapi.Client, w io.Writer) error {
	if _, _, err := lookAt(ctx, gateway, adminapi.Query{Limit: 1}); err != nil {
		return err
	}
	pause := time.NewTicker(watchPause)
	defer pause.Stop()
	lines := []string{""}
	clear := "\x1b[2J"
	for {
		width, height := screenSize(w)
		query := c.query()
		query.Limit = max(1, height)
		sessions, state, err := lookAt(ctx, gateway, query)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			lines[0] = "not answered, trying again: " + oneLine(err.Error())
		default:
			lines = watchLines(sessions, state, width, height, time.Now())
		}
		if _, err := io.WriteString(w, clear+redrawn(lines, width)); err != nil {
			return err
		}
		clear = ""
		select {
		case <-pause.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// watchLines are what fits a screen: its last line stays free for the cursor.
func watchLines(sessions *adminapi.Sessions, state *adminapi.State, width, height int, now time.Time) []string {
	columns := columnsWithin(width)
	lines := []string{headline(sessions, state, now), "", headerLine(columns)}
	room := max(0, height-len(lines)-1)
	if sessions.Total > room {
		room = max(0, room-1)
	}
	shown := sessions.Sessions[:min(room, len(sessions.Sessions))]
	for i := range shown {
		lines = append(lines, sessionLine(columns, &shown[i], now))
	}
	if more := sessions.Total - len(shown); more > 0 {
		lines = append(lines, fmt.Sprintf("… and %d more", more))
	}
	return lines[:max(1, min(len(lines), height-1))]
}

// redrawn writes lines over those that are there. Each is erased only behind its own end, and the
// rest only below the last, so that nothing flickers.
func redrawn(lines []string, width int) string {
	text := "\x1b[H"
	for _, line := range lines {
		text += fitCell(line, width) + "\x1b[K\r\n"
	}
	return text + "\x1b[J"
}

// printEvent prints an event as a line, of the time at which it came.
func (c *sessionsCmd) printEvent(w io.Writer, e adminapi.Event) error {
	if c.JSON {
		return writeJSONLine(w, struct {
			Event string          `json:"event"`
			Data  json.RawMessage `json:"data"`
		}{e.Name, e.Data})
	}
	_, err := fmt.Fprintln(w, time.Now().Format(time.RFC3339), oneLine(e.Name), oneLine(eventText(e)))
	return err
}

// eventText is an event's data as words. Of one that this version doesn't know it is the data.
func eventText(e adminapi.Event) string {
	switch e.Name {
	case adminapi.EventState, adminapi.EventResumed:
		return wordsOf(e, func(s *adminapi.State) []string { return []string{string(s.State)} })
	case adminapi.EventSessionStarted:
		return wordsOf(e, func(s *adminapi.SessionStarted) []string {
			return []string{s.ID, s.Kind, "from", s.Remote, "by", s.Transport, "to", s.Agent}
		})
	case adminapi.EventSessionPhase:
		return wordsOf(e, func(s *adminapi.SessionPhase) []string { return []string{s.ID, s.Workflow, s.Phase} })
	case adminapi.EventSessionStopped:
		return wordsOf(e, func(s *adminapi.SessionStopped) []string {
			return []string{s.ID, s.Workflow, string(s.Outcome), fmt.Sprint(s.Code), s.Reason, s.Error}
		})
	case adminapi.EventToolUnavailable:
		return wordsOf(e, func(t *adminapi.ToolUnavailable) []string { return []string{t.Session, t.Error} })
	case adminapi.EventServiceStopped:
		return wordsOf(e, func(s *adminapi.ServiceStopped) []string { return []string{s.Name, string(s.Outcome), s.Error} })
	case adminapi.EventDrainStarted, adminapi.EventDrainProgress, adminapi.EventDrainFinished:
		return wordsOf(e, func(d *adminapi.Drain) []string { return []string{d.ID, drainText(d, time.Now())} })
	case adminapi.EventLagged:
		return wordsOf(e, func(l *adminapi.Lagged) []string { return []string{fmt.Sprintf("missed %d events", l.Missed)} })
	}
	return string(e.Data)
}

// wordsOf joins what is said of an event's data.
func wordsOf[T any](e adminapi.Event, say func(*T) []string) string {
	data := new(T)
	if json.Unmarshal(e.Data, data) != nil {
		return string(e.Data)
	}
	return strings.Join(slices.DeleteFunc(say(data), func(word string) bool { return word == "" }), " ")
}

// writeJSONLine escapes what isn't printable, which JSON lets pass: a terminal may act upon it. It
// can only be in strings.
func writeJSONLine(w io.Writer, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	var line strings.Builder
	for _, r := range string(data) {
		if unicode.IsPrint(r) {
			line.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&line, `\u%04x`, unit)
		}
	}
	_, err = fmt.Fprintln(w, line.String())
	return err
}
