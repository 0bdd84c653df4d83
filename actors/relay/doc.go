// Package relay has the sessions of the Duo Agent Platform: each joins a client to an agent for hours, and
// is a member of an [actors.Supervisor]. The package sees no socket: what it needs of the outside are the
// interfaces [Client], [Agent], [Leaser] and [Tool], which package transport and the packages below it
// implement.
//
//	id, err := relay.Start(ticket, relay.Session{Client: client, Agent: agent})
//
// From Start on the session owns the connection, and the HTTP handler can return. The session reads the
// startRequest, takes the workflow's lease, opens the agent's stream, and then two goroutines carry
// messages, one each way, each holding one message at a time: that is the backpressure. Data never passes
// through a mailbox; control always does.
//
// What a session does in each of its phases is decided by a pure function in lifecycle.go, whose every
// reachable state is tested; session.go is the actor that carries it out. Told to stop, it goes this way:
//
//	.. grace   a running workflow may finish, and then end as usual             lifecycle.go
//	then       stopWorkflow is the last message to the agent                    outgoing.go
//	           what the agent still says reaches the client                     pumps.go
//	           the agent ends its stream, or is cancelled at the stop timeout   lifecycle.go
//	           the lease is released, the close frame 1001 is sent              pumps.go
//	           the client answers, or is cut at the close timeout               lifecycle.go
package relay
