// Package actors ends long-lived connections well.
//
// Agent sessions, terminals, log streams and other connections are open for hours, and
// http.Server.Shutdown neither closes nor waits for them once they are upgraded. Here each is a session:
// an actor under a [Supervisor], which admits them, tells them all to finish, and collects an
// acknowledgement from each before one deadline. The package sees no socket and no protocol. Package
// actors/relay has the sessions that join a client to an agent; packages transport/httpsession and
// transport/grpcsession make sessions of HTTP handlers and gRPC streams.
//
// # A session's way in
//
//	ticket, err := supervisor.Admit(r.Context())  // before the upgrade; err: answer 503
//	defer ticket.Cancel()                         // if the upgrade fails; afterwards it does nothing
//	…upgrade…
//	err = ticket.Run(actors.Connection{Kind: "terminal", Cut: cut}, func(ctx context.Context) error {
//		…serve until the client leaves, or until ctx is done: then say goodbye and return…
//	})
//
// A protocol with an actor of its own implements [Member], and begins with [Ticket.Start].
//
// # The drain
//
// Drain is called with a context, or sent as a message:
//
//	report, err := supervisor.Drain(ctx, actors.Drain{Grace: 5 * time.Second})
//	engine.Send(supervisor.PID(), actors.Drain{Deadline: time.Now().Add(25 * time.Second)})
//
// and this is what happens:
//
//	t0         Ready turns false; with a Delay, requests are still admitted
//	+ delay    admission ends; every session is told to stop, at once or in batches
//	.. grace   work under way may finish; what that is, a session knows
//	then       each session stops in order, within the stop and close timeouts
//	           each session's last act is its Stopped
//	deadline   the sessions that are left are killed; the report names them
//	after      the services that sessions needed are told, last registered first
//
// The way of a Drain begins at begin in draining.go. What is done when is decided by a pure function in
// plan.go, whose every reachable state is tested; draining.go carries it out, up to the report. How the
// time is shared out stands in budget.go: a delay or a grace that is too long gives way, so that
// everybody can still be told and stopped in order.
//
// A second Drain can only bring the deadline forward. What needs the sessions' time to stop (an
// HTTP server, a connection pool, an agent in process) is a [Service] in the stage [AfterSessions],
// and is told when no session is left; what sessions may be waiting for is one in the stage
// [WithSessions], and is told when they are: nobody is waited for before being told.
//
// A drain with [Drain].Standby leaves the services running, and [Supervisor.Resume] admits again. One
// with [Drain].Only ends a part of the sessions, by ID, age, kind, agent or number, and leaves everything
// else as it is: to rebalance after instances were added, or to end one session. At
// [Options].MaxSessionAge the supervisor does that by itself.
//
// # What holds
//
// Admission and drain pass through one mailbox, so that no session slips between them. Each session
// sends exactly one [Stopped], as the last thing it does. The drain returns by its deadline, plus
// 100 ms at most, whatever the peers do. A panic in one session ends that session alone.
//
// # Watching
//
// The package logs nothing. What happens goes out as events on the engine's event stream
// ([SessionStarted], [SessionStopped], [DrainProgress] and so on); [Supervisor.Listen] brings them
// to a function. How everything stands at one moment, each session and each drain, is a [Snapshot].
//
// # Testing
//
// Package actorstest has a supervisor, clients, agents and services for your own tests: hours of a session
// and its drain take no time, and each test checks in the end that nothing is left.
package actors
