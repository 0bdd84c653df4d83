// Package actors ends long-lived connections well.
//
// Agent sessions, terminals, log streams and other connections are open for hours, and
// http.Server.Shutdown neither closes nor waits for them once they are upgraded. Here each connection is a
// session: an actor under a [Supervisor]. The supervisor admits sessions, asks them all to stop, and
// collects an acknowledgement from each before one deadline.
//
// The package sees no socket and no protocol. Package actors/relay has the sessions that join a client to an
// agent. Packages transport/httpsession and transport/grpcsession make sessions of HTTP handlers and gRPC
// streams.
//
// # A session
//
// Ask for a [Ticket] before the upgrade, and run the connection's function with it:
//
//	ticket, err := supervisor.Admit(r.Context())  // on error: answer 503
//	defer ticket.Cancel()                         // gives the ticket back if the upgrade fails
//	…upgrade…
//	err = ticket.Run(actors.Connection{Kind: "terminal", Cut: cut}, func(ctx context.Context) error {
//		…serve until the client leaves, or until ctx is done: then say goodbye and return…
//	})
//
// The function's context ends when the session has to finish. context.Cause then is a [*Stop] with the
// reason, the grace and the deadline. A protocol with an actor of its own implements [Member], and begins
// with [Ticket.Start].
//
// # The drain
//
// Begin a drain by a call, or by a message:
//
//	report, err := supervisor.Drain(ctx, actors.Drain{Grace: 5 * time.Second})
//	engine.Send(supervisor.PID(), actors.Drain{Deadline: time.Now().Add(25 * time.Second)})
//
// These are its messages:
//
//	request        supervisor                session              service
//	   |               |                        |                    |
//	   |--- Admit ---->|                        |                    |
//	   |<-- ticket ----|                        |                    |
//	   |--- Run, Start ------------------------>|                    |
//	   |               |                        |                    |
//	   |    Drain ---->|                        |                    |
//	   |               |  Ready turns false     |                    |
//	   |               |  … Delay …             |                    |
//	   |--- Admit ---->|                        |                    |
//	   |<- ErrDraining-|                        |                    |
//	   |               |--- Stop -------------->|                    |
//	   |               |--- context done --------------------------->|  stage WithSessions
//	   |               |                        |  … Grace: work     |
//	   |               |                        |    may finish …    |
//	   |               |                        |  … goodbye …       |
//	   |               |<-- Stopped ------------|                    |
//	   |               |<-- returned --------------------------------|
//	   |               |                                             |
//	   |               |--- context done --------------------------->|  stage AfterSessions,
//	   |               |<-- returned --------------------------------|  one after the other
//	   |    Report <---|
//
// # The timeline
//
//	begin         Ready turns false; requests are still admitted
//	+ delay       admission ends; each session is asked to stop, at once or in batches
//	.. grace      work under way may finish; a session without work stops at once
//	then          each session stops in order, within the stop and the close timeout;
//	              its last message is Stopped
//	deadline      the remaining sessions are killed; the report names them
//	after         the services of the stage AfterSessions stop, the last one added first
//
// Services after the sessions get the last second of the time, or the last tenth of a time under ten
// seconds. Where no services stop after the sessions, 500 sessions or more are killed a moment before the
// deadline, 20 µs for each. A delay or a grace that is too long for the deadline is cut, so that all
// sessions can still stop in order.
//
// A second Drain can only bring the deadline forward. To kill what is left, send a Drain whose deadline is
// now.
//
// # Services
//
// A [Service] is a part of the program that stops with a drain. Its stage says when:
//
//   - [WithSessions]: it is asked to stop when the sessions are. This is the stage of a daemon that sessions
//     may wait for. If it stopped after them, both would wait for each other.
//   - [AfterSessions]: it is asked to stop when no session is left. This is the stage of what sessions need
//     to stop: an HTTP server, a connection pool, an agent in process.
//
// # Other drains
//
// A drain with [Drain].Standby leaves the services running, and [Supervisor.Resume] admits again. It never
// changes a drain without Standby that has begun.
//
// A drain with [Drain].Only ends a part of the sessions: by ID, age, kind, agent, principal or number. All
// else goes on. Use it to rebalance after instances were added, or to end one session. At
// [Options].MaxSessionAge the supervisor does it by itself.
//
// # What holds
//
//   - Admission and drain pass through one mailbox: each request gets a session that is drained, or an
//     error.
//   - Each session sends exactly one [Stopped], as the last thing that it does.
//   - The drain returns by its deadline plus 100 ms, whatever the peers do. This needs a machine that gives
//     the process its CPU, and a deadline that was not in the past when it was set. On two cores a drain
//     that kills 5,000 sessions at the deadline is over 10 to 35 ms after it.
//   - A panic in one session ends that session alone.
//
// # Watching
//
// The package logs nothing. Events go out on the engine's event stream ([SessionStarted],
// [SessionStopped], [DrainProgress] and so on); [Supervisor.Listen] calls a function for each.
// [Supervisor.Snapshot] returns the present state of each session and each drain, [Supervisor.Estimate] what a
// drain would take. An engine of your own goes into [Options].Engine.
//
// # The code
//
// Read in this order. Each file has one step of the drain:
//
//	admission.go   tickets: the way in
//	task.go        a function as a session, or as a service
//	member.go      an actor as a session; its phases; the message that stops it
//	plan.go        what a drain does next: a pure function, whose every reachable state is tested
//	draining.go    carries the plan out, from the mailbox to the report; begins at begin
//	budget.go      how the time is shared out
//	expiry.go      sessions that end alone: by age, or without their authorization
//	estimate.go    how long a drain would take, from the stops so far
//	outcome.go     how a session ends: outcomes, close codes, errors
//	report.go      what became of each session and service
//
// # Testing
//
// Package actorstest has a supervisor, clients, agents and services for your own tests. Hours of a session
// and its drain take no time, and each test checks in the end that nothing is left.
//
// The package's own tests play random worlds, for as long as a flag says; -seed plays one again:
//
//	go test ./actors -run TestStress -v -stress 1h [-seed N]
package actors
