// Package actors ends long-lived agent sessions well.
//
// A session joins a client to an agent for hours, over a connection that http.Server.Shutdown
// neither closes nor waits for. Here each session is an actor that owns both of its ends, and a
// [Supervisor] is the actor that admits them, tells them all to finish, and collects an
// acknowledgement from each before one deadline. The package sees no socket: what it needs of the
// outside are the interfaces [Client], [Agent], [Leaser] and [Tool], which package transport and the
// packages below it implement.
//
// # A session's way in
//
//	ticket, err := supervisor.Admit(r.Context())  // before the upgrade; err: answer 503
//	defer ticket.Cancel()                         // if the upgrade fails; after Start it does nothing
//	…upgrade…
//	id, err := ticket.Start(actors.Session{Client: client, Agent: agent})
//
// From Start on the session owns the connection, and the HTTP handler can return. The session
// reads the startRequest, takes the workflow's lease, opens the agent's stream, and then two
// goroutines carry messages, one each way, each holding one message at a time: that is the
// backpressure. Data never passes through a mailbox; control always does.
//
// # The drain
//
// Drain is called with a context, or sent as a message:
//
//	report, err := supervisor.Drain(ctx, actors.Drain{Grace: 5 * time.Second})
//	engine.Send(supervisor.PID(), actors.Drain{Deadline: time.Now().Add(25 * time.Second)})
//
// and this is what happens, in the file that is named:
//
//	t0         Ready turns false; with a Delay, requests are still admitted     draining.go
//	+ delay    admission ends; every child is told, at once or in batches       plan.go
//	.. grace   running workflows may finish, and then end as usual              lifecycle.go
//	then       stopWorkflow is the last message to the agent                    outgoing.go
//	           what the agent still says reaches the client                     pumps.go
//	           the agent ends its stream, or is cancelled at the stop timeout   lifecycle.go
//	           the lease is released, the close frame 1001 is sent              pumps.go
//	           the client answers, or is cut at the close timeout               lifecycle.go
//	           each session's last act is its Stopped                           session.go
//	deadline   whoever is still there is killed; the report names them          plan.go, report.go
//	after      the services that sessions needed, last registered first         plan.go, service.go
//
// What is done when is decided by a pure function in plan.go, and carried out by draining.go; how the
// time is shared out stands in budget.go. A delay or a grace that is too long gives way, so that
// everybody can still be told and stopped in order.
//
// A second Drain can only bring the deadline forward. What needs the sessions' time to stop (an
// HTTP server, a connection pool, an agent in process) is a [Service] in the stage [AfterSessions],
// and is told when no session is left; what sessions may be waiting for is one in the stage
// [WithSessions], and is told when they are: nobody is waited for before being told.
//
// A drain with [Drain].Standby leaves the services running, and [Supervisor.Resume] admits again. One
// with [Drain].Only ends a part of the sessions, by ID, age, agent or number, and leaves everything
// else as it is: to rebalance after instances were added, or to end one session. At
// [Options].MaxSessionAge the supervisor does that by itself.
//
// # What holds
//
// Admission and drain pass through one mailbox, so that no session slips between them. Each child
// sends exactly one [Stopped], as the last thing it does. The drain returns by its deadline, plus
// 100 ms at most, whatever the peers do. A panic in one session ends that session alone. A session
// moves through the phases of [Phase], and what it does in each is decided by a pure function that
// is tested in every state it can reach.
//
// # Watching
//
// The package logs nothing. What happens goes out as events on the engine's event stream
// ([SessionStarted], [SessionStopped], [DrainProgress] and so on); [Supervisor.Listen] brings them
// to a function. How everything stands at one moment, each session and each drain, is a [Snapshot].
package actors
