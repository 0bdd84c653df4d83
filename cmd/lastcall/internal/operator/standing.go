package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

// LookAt asks for sessions, and for how the gateway stands.
func LookAt(ctx context.Context, gateway *adminapi.Client, query adminapi.Query) (*adminapi.Sessions, *adminapi.State, error) {
	sessions, err := gateway.Sessions(ctx, query)
	if err != nil {
		return nil, nil, err
	}
	state, err := gateway.State(ctx)
	return sessions, state, err
}

// SessionPhases returns the phases that a listed session can be in, in their order.
func SessionPhases() []string { return []string{"opening", "serving", "stopping", "closing"} }

// SessionsOf counts all sessions of a gateway, whatever was asked for.
func SessionsOf(sessions *adminapi.Sessions) int {
	all := 0
	for _, phase := range SessionPhases() {
		all += sessions.Phases[phase]
	}
	return all
}

// PhasesText is "12 sessions: 10 serving, 2 stopping".
func PhasesText(sessions *adminapi.Sessions) string {
	var phases []string
	for _, phase := range SessionPhases() {
		if n := sessions.Phases[phase]; n > 0 {
			phases = append(phases, fmt.Sprintf("%d %s", n, phase))
		}
	}
	all := SessionsOf(sessions)
	return fmt.Sprintf("%d %s%s", all, terminal.Plural(all, "session"), terminal.Suffix(": ", strings.Join(phases, ", ")))
}

// Headline is the gateway in a line: "12 sessions: 10 serving, 2 stopping · draining, 12s to the deadline".
func Headline(sessions *adminapi.Sessions, state *adminapi.State, now time.Time) string {
	line := PhasesText(sessions)
	if sessions.Total != SessionsOf(sessions) {
		line += fmt.Sprintf(" · %d shown", sessions.Total)
	}
	return line + " · " + standing(state, now)
}

// standing is what a gateway does with new sessions, and the drain that is under way.
func standing(state *adminapi.State, now time.Time) string {
	text := terminal.OneLine(string(state.State))
	switch {
	case state.State == actors.Idle && !state.Final:
		text = "drained, refuses new sessions until 'lastcall resume'"
	case state.Final:
		text += ", the process is ending"
	}
	if d := DrainUnderWay(state); d != nil {
		what := "drain"
		if d.Part {
			what = "drain of a part"
		}
		text += " · " + what + " " + drainText(d, now)
	}
	return text
}

// DrainUnderWay is that of everything, if there is one, or else the latest of a part. nil: none is.
func DrainUnderWay(state *adminapi.State) *adminapi.Drain {
	var under *adminapi.Drain
	for i := range state.Drains {
		if d := &state.Drains[i]; !d.Over && (under == nil || under.Part) {
			under = d
		}
	}
	return under
}

// EventText returns an event's data as words, or as it is if this version doesn't know the event.
func EventText(e adminapi.Event) string {
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

// watchPause is between two looks at a gateway.
const WatchPause = time.Second
