package actors_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"github.com/anthdm/hollywood/actor"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
)

// world is a supervisor, its services and its guests, with what was done to them.
type world struct {
	*actorstest.Supervisor
	options   actors.Options
	guests    []*guest
	returning chan struct{} // closed: services that return untold do so
	unlisten  func()

	mu     sync.Mutex
	drains []*asked
	shifts []time.Time // when a deadline can have come nearer
}

// asked is a drain that was asked for.
type asked struct {
	drain           actors.Drain
	began, returned time.Time
	cancelled       time.Time // zero: it wasn't
	report          *actors.Report
	err             error
}

// stubbornFor is how long those go on that nothing moves.
const stubbornFor = 40 * time.Second

func newWorld(h *actorstest.Supervisor, s scenario) *world {
	w := &world{Supervisor: h, options: s.options, returning: make(chan struct{})}
	w.unlisten = h.Listen(func(event any) {
		_, end := event.(actors.SessionStopped)
		switch {
		case end && s.listener == "panics":
			panic("in listener")
		case end && s.listener == "slow":
			time.Sleep(time.Second)
		}
	})
	for i, n := range s.services {
		stage := actors.AfterSessions
		if n.with {
			stage = actors.WithSessions
		}
		h.AddService(fmt.Sprint("service ", i), stage, w.service(n))
	}
	for i, n := range s.sessions {
		authorized, withdraw := context.WithCancel(context.Background())
		g := &guest{world: w, name: fmt.Sprint("guest ", i), nature: n, authorized: authorized, withdraw: withdraw, leaves: make(chan bool, 1)}
		w.guests = append(w.guests, g)
		if !n.late {
			g.arrive()
		}
	}
	return w
}

func (w *world) service(n serviceNature) actors.Service {
	inner := &actorstest.Service{OnStop: actorstest.Call{Takes: n.takes, Hangs: n.hangs, Panics: n.panics}}
	return actors.ServiceFunc(func(ctx context.Context) error {
		if n.returns {
			select {
			case <-w.returning:
				return nil
			case <-ctx.Done():
			}
		}
		return inner.Serve(ctx)
	})
}

// do does one deed.
func (w *world) do(d deed) {
	switch d.what {
	case "part", "standby", "final":
		w.drain(d)
	case "resume":
		go func() { _ = w.Resume(context.Background()) }() // a final drain refuses
	default:
		w.guests[d.whom].do(d.what)
	}
}

// shifted: what comes from now on may come sooner than it was planned.
func (w *world) shifted() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shifts = append(w.shifts, time.Now())
}

func (w *world) drain(d deed) {
	n := d.drain
	drain := actors.Drain{Delay: n.delay, Grace: n.grace, BatchSize: n.batch, BatchInterval: n.interval, Standby: d.what == "standby"}
	if n.within != 0 {
		drain.Deadline = time.Now().Add(n.within)
	}
	if d.what == "part" {
		drain.Only = w.selection(n, w.guests[d.whom])
	}
	w.shifted()
	a := &asked{drain: drain, began: time.Now()}
	w.mu.Lock()
	w.drains = append(w.drains, a)
	w.mu.Unlock()
	if n.message {
		a.returned = a.began
		w.Engine().Send(w.PID(), drain)
		return
	}
	go w.wait(a, n.cancelled)
}

func (w *world) selection(n drainNature, g *guest) *actors.Selection {
	switch s := (&actors.Selection{Most: n.most}); n.only {
	case "one":
		s.IDs = []string{g.sessionID()}
		return s
	case "kind":
		s.Kind = relay.Kind
		return s
	case "principal":
		s.Principal = "a"
		return s
	case "old":
		s.OlderThan = time.Second
		return s
	default:
		return s
	}
}

func (w *world) wait(a *asked, cancelledAfter time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if cancelledAfter > 0 {
		timer := time.AfterFunc(cancelledAfter, func() {
			w.shifted()
			w.mu.Lock()
			a.cancelled = time.Now()
			w.mu.Unlock()
			cancel()
		})
		defer timer.Stop()
	}
	report, err := w.Drain(ctx, a.drain)
	w.mu.Lock()
	defer w.mu.Unlock()
	a.report, a.err, a.returned = report, err, time.Now()
}

// end drains everything, and returns what is wrong after that.
func (w *world) end() (wrong []string) {
	synctest.Wait()
	wrong = append(wrong, w.roomAgain()...)
	w.shifted()
	if _, took, _ := w.TimedDrain(actors.Drain{}); took > actors.DefaultDrain+late {
		wrong = append(wrong, fmt.Sprintf("the last drain took %v", took))
	}
	time.Sleep(time.Hour) // killed sessions have come to their end too
	close(w.returning)
	w.unlisten()
	synctest.Wait()
	if err := w.Admits(); !errors.Is(err, actors.ErrDraining) {
		wrong = append(wrong, fmt.Sprintf("after the last drain Admit returns %v", err))
	}
	if view := w.View(); view.Open+view.Tickets+len(view.Sessions) > 0 {
		wrong = append(wrong, fmt.Sprintf("the supervisor keeps %+v", view))
	}
	wrong = append(wrong, w.lateDrains()...)
	wrong = append(wrong, w.badReports()...)
	wrong = append(wrong, w.untoldKills()...)
	wrong = append(wrong, w.panics()...)
	return append(wrong, w.Amiss()...)
}

// roomAgain: when all have left for a standby, there is room for as many as ever.
func (w *world) roomAgain() (wrong []string) {
	w.shifted()
	_, err := w.Drain(context.Background(), actors.Drain{Standby: true})
	if errors.Is(err, actors.ErrFinal) {
		return nil
	}
	time.Sleep(time.Hour)
	if w.Resume(context.Background()) != nil {
		return nil
	}
	admit := func(principal string, limit int) {
		for i := range limit {
			ticket, err := w.AdmitAs(context.Background(), principal)
			if err != nil {
				wrong = append(wrong, fmt.Sprintf("no room for session %d of %q after a standby: %v", i, principal, err))
				return
			}
			defer ticket.Cancel()
		}
	}
	admit("a", w.options.MaxSessionsPerPrincipal)
	admit("b", w.options.MaxSessionsPerPrincipal)
	admit("", w.options.MaxSessions-2*w.options.MaxSessionsPerPrincipal)
	return wrong
}

// late is how long after its deadline a drain may end.
const late = 100 * time.Millisecond

// lateDrains: a drain returns by its deadline; where a final one has taken over a standby, by that one's.
func (w *world) lateDrains() (wrong []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.drains {
		due := a.due()
		for _, other := range w.drains {
			takesOver := a.drain.Standby && other.drain.Only == nil && !other.drain.Standby && !other.began.After(a.returned)
			if takesOver && other.due().After(due) {
				due = other.due()
			}
		}
		switch {
		case a.returned.IsZero():
			wrong = append(wrong, fmt.Sprintf("%+v has not returned", a.drain))
		case a.returned.After(due.Add(late)):
			wrong = append(wrong, fmt.Sprintf("%+v returned %v after its deadline", a.drain, a.returned.Sub(due)))
		}
		killed := errors.As(a.err, new(*actors.KilledError))
		refused := errors.Is(a.err, actors.ErrDraining) || errors.Is(a.err, actors.ErrFinal)
		if a.err != nil && !killed && !refused || refused != (a.report == nil) && !a.returned.Equal(a.began) {
			wrong = append(wrong, fmt.Sprintf("%+v returned %v, %v", a.drain, a.report, a.err))
		}
	}
	return wrong
}

func (a *asked) due() time.Time {
	due := actors.Earlier(a.drain.Deadline, a.cancelled)
	if a.drain.Deadline.IsZero() {
		due = actors.Earlier(due, a.began.Add(actors.DefaultDrain))
	}
	if due.Before(a.began) {
		return a.began
	}
	return due
}

// badReports: a drain's report has each of its sessions once, and as it ended; a drain of everything has
// all that ended meanwhile, and a session that was drained is in one at least.
func (w *world) badReports() (wrong []string) {
	ended, starts := make(map[string]actors.SessionStopped), make(map[string]time.Time)
	for _, e := range w.Ended() {
		ended[e.ID] = e
	}
	for _, e := range actorstest.Heard[actors.SessionStarted](w.Supervisor) {
		starts[e.ID] = e.At
	}
	reported := make(map[string]bool)
	finished := actorstest.Heard[actors.DrainFinished](w.Supervisor)
	if begun := actorstest.Heard[actors.DrainStarted](w.Supervisor); len(begun) != len(finished) {
		wrong = append(wrong, fmt.Sprintf("%d drains have begun, %d are over", len(begun), len(finished)))
	}
	for _, f := range finished {
		in := make(map[string]bool)
		total := 0
		for _, s := range f.Report.Sessions {
			if in[s.ID] || ended[s.ID].SessionReport != s {
				wrong = append(wrong, fmt.Sprintf("session %s is in a report twice, or not as it ended: %+v, %+v", s.ID, s, ended[s.ID]))
			}
			in[s.ID], reported[s.ID] = true, true
		}
		for _, n := range f.Report.Totals {
			total += n
		}
		if total != len(in) {
			wrong = append(wrong, fmt.Sprintf("the totals of a report don't match its %d sessions: %v", len(in), f.Report.Totals))
		}
		over := f.Report.Started.Add(time.Duration(f.Report.Took))
		for id, e := range ended {
			end := starts[id].Add(time.Duration(e.Age))
			missed := end.After(f.Report.Started) && !end.After(over) && starts[id].Before(over)
			if missed && !f.Report.Part && !in[id] {
				wrong = append(wrong, fmt.Sprintf("session %s ended in a drain of everything, whose report misses it: %+v", id, f.Report))
			}
		}
	}
	for _, g := range w.guests {
		e, known := ended[g.sessionID()]
		if known && !g.poisoned && (e.Outcome == actors.Drained || e.Outcome == actors.Killed) && !reported[e.ID] {
			wrong = append(wrong, fmt.Sprintf("session %s is %s, and in no report", e.ID, e.Outcome))
		}
	}
	return wrong
}

// untoldKills: a killed session was asked to stop before, and early enough for its stop and close
// timeouts, unless it came too late for that or a drain was so short.
func (w *world) untoldKills() (wrong []string) {
	stop, closing := w.options.StopTimeout, w.options.CloseTimeout
	if stop == 0 {
		stop = actors.DefaultStopTimeout
	}
	if closing == 0 {
		closing = actors.DefaultCloseTimeout
	}
	for _, g := range w.guests {
		if g.killed.IsZero() || g.poisoned {
			continue
		}
		due := g.killed.Add(-stop - closing)
		for _, at := range append(w.shifts, g.began) {
			if at.After(due) && !at.After(g.killed) {
				due = at
			}
		}
		untold := g.told.IsZero() && due.Before(g.killed)
		if untold || g.told.After(due.Add(time.Millisecond)) {
			wrong = append(wrong, fmt.Sprintf("session %s (%s) was killed at %v, and told at %v: due at %v", g.id, g.nature.kind,
				g.killed.Sub(w.Began), g.told.Sub(w.Began), due.Sub(w.Began)))
		}
	}
	return wrong
}

// panics: the supervisor has survived none but the embedder's.
func (w *world) panics() (wrong []string) {
	for _, e := range actorstest.Heard[actors.SupervisorPanicked](w.Supervisor) {
		if text, is := e.Err.Value.(string); !is || !strings.HasPrefix(text, "in ") {
			wrong = append(wrong, fmt.Sprintf("the supervisor panicked: %v\n%s", e.Err, e.Err.Stack))
		}
	}
	return wrong
}

// guest is a request that comes, and may become a session of any kind.
type guest struct {
	world      *world
	name       string
	nature     nature
	authorized context.Context
	withdraw   func()
	leaves     chan bool // a function or a member: it ends untold; true: with a panic
	arrived    bool
	poisoned   bool

	mu           sync.Mutex
	id           string // empty: it is no session
	began        time.Time
	told, killed time.Time // as its function or its member sees it
	session      *actorstest.Session
	lost         sync.Once
}

func (g *guest) sessionID() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.id
}

func (g *guest) note(id string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.id == "" {
		g.id, g.began = id, time.Now()
	}
}

func (g *guest) sees(at *time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if at.IsZero() {
		*at = time.Now()
	}
}

// arrive asks for a ticket, and does with it what the guest's nature is.
func (g *guest) arrive() {
	if g.arrived {
		return
	}
	g.arrived = true
	ticket, err := g.world.AdmitAs(context.Background(), g.nature.principal)
	if err != nil {
		return // draining, or full
	}
	switch g.nature.ticket {
	case "used":
		g.use(ticket)
	case "used late":
		time.AfterFunc(500*time.Millisecond, func() { g.use(ticket) })
	case "used too late":
		time.AfterFunc(actors.TicketLife+time.Second, func() { g.use(ticket) })
	case "cancelled":
		ticket.Cancel()
	}
}

func (g *guest) use(ticket *actors.Ticket) {
	switch g.nature.kind {
	case "relay":
		g.useRelay(ticket)
	case "function":
		g.useFunction(ticket)
	case "member":
		g.useMember(ticket)
	}
}

// do does a deed to the guest. One that isn't there hears nothing.
func (g *guest) do(what string) {
	switch what {
	case "arrive":
		g.arrive()
		return
	case "authorization ends":
		g.world.shifted()
		g.withdraw()
		return
	}
	id := g.sessionID()
	if id == "" {
		return
	}
	switch {
	case what == "poison":
		g.poisoned = true
		g.world.Engine().Poison(g.world.Engine().Registry.GetPID(g.world.PID().ID+"/session", id))
	case g.nature.kind == "relay":
		g.doRelay(what)
	case strings.HasPrefix(what, "agent ends"), what == "agent panics":
		select {
		case g.leaves <- what == "agent panics":
		default:
		}
	}
}

func (g *guest) useRelay(ticket *actors.Ticket) {
	n := g.nature
	s := g.world.Session()
	s.Agent.OnOpen.Takes, s.Agent.OnStop.Takes, s.Agent.OnStop.Hangs = n.opens, n.stopping, n.ignores
	s.Client.OnSend.Takes, s.Client.OnClose.Hangs = n.reads, n.mute
	s.Authorized = g.authorized
	s.Tools = []relay.Tool{&tool{n}}
	s.Client.OnSend.Panics = n.panics == "Send"
	s.Client.OnClose.Panics = n.panics == "Close"
	s.Client.OnAbort.Panics = n.panics == "Abort"
	s.Agent.OnOpen.Panics = n.panics == "open"
	s.Agent.OnSend.Panics = n.panics == "stream"
	if n.panics == "Traffic" {
		s.Client.Counts = func() actors.Traffic { panic("in Client.Traffic") }
	}
	if n.panics == "BadInput" {
		s.Decorate = func(parts *relay.Session) { parts.Client = miscounts{s.Client} }
	}
	if n.fails == "write" {
		s.Client.OnSend.Err = errors.New("write: broken pipe")
	}
	if n.fails == "open" {
		s.Agent.OnOpen.Err = relay.AgentUnavailable(nil)
	}
	s.Prepare = func(*dap.StartWorkflowRequest) error {
		if n.panics == "prepare" {
			panic("in Prepare")
		}
		if n.fails == "prepare" {
			return &actors.CloseError{Code: actors.CloseForbidden, Reason: "workflow not allowed"}
		}
		return nil
	}
	if n.leased {
		g.lease(s)
	}
	id, err := relay.Start(ticket, s.Parts())
	if err != nil {
		return
	}
	s.ID = id
	g.mu.Lock()
	g.session = s
	g.mu.Unlock()
	g.note(id)
	if n.starts {
		s.Client.Say(actorstest.StartRequest("w1"))
	}
}

func (g *guest) lease(s *actorstest.Session) {
	n := g.nature
	l := s.Lease()
	l.OnRelease.Takes, l.OnRelease.Panics, l.OnAcquire.Panics = n.releases, n.panics == "release", n.panics == "acquire"
	if n.panics == "confirm" {
		l.Confirms(func(context.Context) error { panic("in Lease.Confirm") })
	}
	if n.fails == "acquire" {
		l.OnAcquire.Err = relay.LeaseHeld(nil)
	}
	if n.fails == "release" {
		l.OnRelease.Err = errors.New("store is down")
	}
}

// miscounts is a client that panics where it is asked what was wrong.
type miscounts struct{ *actorstest.Client }

func (miscounts) BadInput() map[actors.BadInput]int { panic("in Client.BadInput") }

func (g *guest) doRelay(what string) {
	g.mu.Lock()
	s := g.session
	g.mu.Unlock()
	say := func(what func(*actorstest.Stream)) {
		for _, stream := range s.Agent.Streams() {
			go what(stream)
		}
	}
	switch what {
	case "start":
		s.Client.Say(actorstest.StartRequest("w1"))
	case "talk":
		s.Client.Say(actorstest.Heartbeat(1))
	case "silence":
		s.Client.End(relay.ErrSilent)
	case "garbage":
		s.Client.End(&actors.CloseError{Code: 1007, Reason: "not JSON"})
	case "leave":
		s.Client.End(&actors.ClosedError{Code: 1000})
	case "vanish":
		s.Client.End(io.ErrUnexpectedEOF)
	case "client panics":
		s.Client.Panic()
	case "agent talks":
		say(func(stream *actorstest.Stream) { stream.Say(actorstest.Action("a")) })
	case "agent asks a tool":
		say(func(stream *actorstest.Stream) { stream.Say(actorstest.Action(forTool)) })
	case "agent ends":
		say(func(stream *actorstest.Stream) { stream.End(io.EOF) })
	case "agent fails":
		say(func(stream *actorstest.Stream) { stream.End(actorstest.ErrInterrupted) })
	case "agent panics":
		say((*actorstest.Stream).Panic)
	case "lease is lost":
		if s.Count("lease on") > s.Count("lease released") {
			g.lost.Do(func() { s.Leaser.Lose(errors.New("ran out")) })
		}
	}
}

// forTool is the requestID of actions that a tool takes.
const forTool = "for a tool"

type tool struct{ nature }

func (t *tool) does(ctx context.Context, what string) error {
	if t.panics == "tool."+what {
		panic("in Tool." + what)
	}
	if t.nature.tools > 0 {
		select {
		case <-time.After(t.nature.tools):
		case <-ctx.Done():
		}
	}
	if t.fails == "tool" {
		return errors.New("out of order")
	}
	return nil
}

func (t *tool) Open(ctx context.Context, _ *dap.StartWorkflowRequest) error {
	return t.does(ctx, "Open")
}

func (t *tool) Takes(action *dap.Action) bool {
	if t.panics == "tool.Takes" {
		panic("in Tool.Takes")
	}
	return action.GetRequestID() == forTool
}

func (t *tool) Run(ctx context.Context, _ *dap.Action) (*dap.ActionResponse, error) {
	return &dap.ActionResponse{}, t.does(ctx, "Run")
}

func (t *tool) Close(ctx context.Context) error { return t.does(ctx, "Close") }

// useFunction is a session of Ticket.Run, which returns when asked to stop, or ignores that until it is out
// of time; a stubborn one goes on even then.
func (g *guest) useFunction(ticket *actors.Ticket) {
	n := g.nature
	cut := make(chan struct{})
	connection := actors.Connection{Kind: "function", Remote: g.name, Authorized: g.authorized, Cut: func() {
		close(cut)
		if n.panics == "Abort" {
			panic("in Cut")
		}
	}}
	go func() {
		_ = ticket.Run(connection, func(ctx context.Context) error {
			return g.function(ctx, cut)
		})
	}()
}

func (g *guest) function(ctx context.Context, cut <-chan struct{}) error {
	n := g.nature
	g.note(g.ownID())
	expired := actors.OutOfTime(ctx)
	select {
	case <-ctx.Done():
	case panics := <-g.leaves:
		if panics {
			panic("in function")
		}
		return nil
	}
	if expired.Err() == nil { // else it was asked and killed in one instant
		g.sees(&g.told)
	}
	var stops <-chan time.Time
	switch {
	case n.ignores:
	case n.stopping == 0:
		return g.says(n)
	default:
		stops = time.After(n.stopping)
	}
	select {
	case <-stops:
		return g.says(n)
	case <-expired.Done():
		g.sees(&g.killed)
		if n.stubborn {
			time.Sleep(stubbornFor)
		} else {
			<-cut
		}
		return expired.Err()
	}
}

// says is how a function that was asked to stop returns.
func (g *guest) says(n nature) error {
	switch {
	case n.panics == "Close":
		panic("in function")
	case n.fails == "write":
		return io.ErrClosedPipe
	}
	return nil
}

// ownID is the ID of the session of this name. Empty: it has ended already.
func (g *guest) ownID() string {
	view, err := g.world.Snapshot(context.Background())
	if err != nil {
		return ""
	}
	for _, s := range view.Sessions {
		if s.Remote == g.name {
			return s.ID
		}
	}
	return ""
}

// useMember is a session that is an actor of the embedder's own.
func (g *guest) useMember(ticket *actors.Ticket) {
	id, err := ticket.Start(actors.Info{Kind: "member", Authorized: g.authorized}, func(p actors.Place) actors.Member {
		if g.nature.panics == "made" {
			panic("in making a member")
		}
		return &ownMember{guest: g, Place: p, outcome: actors.Completed}
	})
	if err == nil {
		g.note(id)
	}
}

// ownMember stops when asked, after a while, or ignores that until it is killed; a stubborn one
// goes on even then.
type ownMember struct {
	*guest
	actors.Place
	outcome actors.Outcome
}

type memberEnds struct{}

func (m *ownMember) Standing() actors.Standing {
	if m.nature.panics == "Standing" {
		panic("in Member.Standing")
	}
	return actors.Standing{}
}

func (m *ownMember) Receive(c *actor.Context) {
	switch message := c.Message().(type) {
	case actor.Started:
		engine, self := c.Engine(), c.PID()
		time.AfterFunc(time.Hour/2, func() { engine.Send(self, memberEnds{}) })
	case actors.Stop:
		m.stop(c, message)
	case memberEnds:
		c.Engine().Poison(c.PID())
	case actor.Stopped:
		c.Send(m.Supervisor, actors.Stopped{ID: m.ID, Outcome: m.outcome})
	}
}

func (m *ownMember) stop(c *actor.Context, stop actors.Stop) {
	after := m.nature.stopping
	switch {
	case stop.Cause == actors.CauseKill:
		m.sees(&m.killed)
		m.outcome, after = actors.Killed, 0
		if m.nature.stubborn {
			after = stubbornFor
		}
	case m.nature.ignores:
		m.sees(&m.told)
		return
	default:
		m.sees(&m.told)
		m.outcome = actors.Drained
	}
	if after == 0 {
		c.Engine().Poison(c.PID())
		return
	}
	engine, self := c.Engine(), c.PID()
	time.AfterFunc(after, func() { engine.Send(self, memberEnds{}) })
}
