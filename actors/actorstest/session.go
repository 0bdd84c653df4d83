package actorstest

import (
	"github.com/anthdm/hollywood/actor"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
)

// Session is a session of package relay between a fake client and a fake agent, which share its journal.
// [Supervisor.Session] makes one. What the embedded [relay.Session] says beside its Client, Agent and
// Leaser, such as Tools and Limits, may be set before the session starts.
type Session struct {
	*Journal
	relay.Session
	ID       string // once it has started
	Workflow string // of the startRequest that Start has the client send. "w1" unless it is set

	Client *Client
	Agent  *Agent
	Leaser *Leaser // nil: no workflow is leased

	// Decorate, if not nil, may change what the session is made of, such as wrap the fakes.
	Decorate func(*relay.Session)

	supervisor *Supervisor
}

// Session returns a session that hasn't started, with a client and an agent that behave.
func (s *Supervisor) Session() *Session {
	j := s.Journal()
	session := &Session{
		Journal:    j,
		Session:    relay.Session{Remote: "192.0.2.1:1234"},
		Workflow:   "w1",
		Client:     &Client{Journal: j},
		Agent:      &Agent{Journal: j},
		supervisor: s,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions = append(s.sessions, session)
	return session
}

// Lease has the session's workflow be leased, and returns what gives the leases.
func (s *Session) Lease() *Leaser {
	s.Leaser = &Leaser{Journal: s.Journal}
	return s.Leaser
}

// Parts returns what [relay.Start] makes the session of.
func (s *Session) Parts() relay.Session {
	parts := s.Session
	parts.Client, parts.Agent = s.Client, s.Agent
	if s.Leaser != nil {
		parts.Leaser = s.Leaser
	}
	if s.Decorate != nil {
		s.Decorate(&parts)
	}
	return parts
}

// Join admits and starts the session. Its client sends nothing yet.
func (s *Session) Join() *Session {
	s.supervisor.t.Helper()
	return s.Use(s.supervisor.Ticket())
}

// Use is Join with a ticket that was given before.
func (s *Session) Use(ticket *actors.Ticket) *Session {
	s.supervisor.t.Helper()
	var err error
	if s.ID, err = relay.Start(ticket, s.Parts()); err != nil {
		s.supervisor.t.Fatal(err)
	}
	return s
}

// Start is Join for a client that sends its startRequest, after which everything in the bubble has come to
// rest.
func (s *Session) Start() *Session {
	s.supervisor.t.Helper()
	s.Join()
	s.Client.Say(StartRequest(s.Workflow))
	s.supervisor.rest()
	return s
}

// Serve is Start for a session whose agent must have opened a stream by then.
func (s *Session) Serve() *Session {
	s.supervisor.t.Helper()
	s.Start()
	s.Stream()
	return s
}

// Stream returns the agent's end of the session. It must have been opened.
func (s *Session) Stream() *Stream {
	s.supervisor.t.Helper()
	streams := s.Agent.Streams()
	if len(streams) == 0 {
		s.supervisor.t.Fatalf("the agent has opened no stream: %q", s.Lines())
	}
	return streams[0]
}

// Running waits until everything in the bubble has come to rest, and reports whether the session has not
// ended.
func (s *Session) Running() bool { return len(s.ends()) == 0 }

func (s *Session) ends() (all []actors.SessionStopped) {
	for _, e := range s.supervisor.Ended() {
		if e.ID == s.ID {
			all = append(all, e)
		}
	}
	return all
}

// Stopped waits until everything in the bubble has come to rest, and returns how the session ended. It must
// have ended once.
func (s *Session) Stopped() actors.SessionStopped {
	s.supervisor.t.Helper()
	all := s.ends()
	if len(all) != 1 {
		s.supervisor.t.Fatalf("the session has ended %d times: %q", len(all), s.Lines())
	}
	return all[0]
}

// EndsAs is Stopped for a session that must have ended in this way, and left no actor behind.
func (s *Session) EndsAs(want actors.Outcome) actors.SessionStopped {
	s.supervisor.t.Helper()
	stopped := s.Stopped()
	if stopped.Outcome != want {
		s.supervisor.t.Errorf("the outcome is %s, want %s: %q", stopped.Outcome, want, s.Lines())
	}
	if s.PID() != nil {
		s.supervisor.t.Error("the session's actor is still there")
	}
	return stopped
}

// PID returns the session's actor. Nil: it is gone.
func (s *Session) PID() *actor.PID {
	return s.supervisor.Engine().Registry.GetPID(s.supervisor.PID().ID+"/session", s.ID)
}
