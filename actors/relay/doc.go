// Package relay has the sessions of the Duo Agent Platform. Each session joins a client to an agent for
// hours, and is a member of an [actors.Supervisor].
//
// The package sees no socket. Its needs are interfaces, [Client], [Agent], [Leaser] and [Tool], which
// package transport and the packages below it implement.
//
//	id, err := relay.Start(ticket, relay.Session{Client: client, Agent: agent})
//
// From Start on the session owns the connection, and the HTTP handler can return. The session reads the
// startRequest, takes the workflow's lease, and opens the agent's stream. Then two goroutines carry messages,
// one each way. Each holds one message at a time: this is the backpressure, and it bounds the session's
// memory. Data never passes through a mailbox; control always does.
//
// # A session in a drain
//
//	client            session                   agent
//	   |                 |<----- messages ------->|   pumps.go
//	   |<-- messages --->|                        |
//	   |      Stop ----->|                        |   from the supervisor
//	   |                 |  … grace: the workflow |   lifecycle.go
//	   |                 |    may finish …        |
//	   |                 |--- stopWorkflow ------>|   outgoing.go: the last message to the agent
//	   |<----------------|<-- last checkpoint ----|   pumps.go: what the agent still says is delivered
//	   |                 |<-- end of stream ------|   or the stream is cancelled at the stop timeout
//	   |                 |  the lease is released |   lease.go
//	   |<- close 1001 ---|                        |   pumps.go
//	   |-- close ------->|                        |   or the connection is cut at the close timeout
//	   |   Stopped <-----|                        |   to the supervisor
//
// Any end of the agent's stream acknowledges stopWorkflow, OK and UNAVAILABLE alike. The lease is free
// before the close frame, so that a client that comes back at once finds it free.
//
// A pure function in lifecycle.go decides what a session does in each of its phases; tests walk every
// reachable state. session.go is the actor that carries it out.
//
// # Tools
//
// Some of the agent's actions run in the gateway, and its client never sees them: those that a [Tool] of the
// session takes. Tool calls run beside the relay, a limited number at a time. Each call is answered exactly
// once, also when it fails, panics, takes longer than its timeout, or is cut by a drain. A tool of your own
// says which actions it takes, how it runs one, and how it closes.
package relay
