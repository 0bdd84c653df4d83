// Package transport joins sessions to the wire. It upgrades HTTP requests to WebSockets, and opens streams to
// an agent over gRPC.
//
// [Handler] is the way in. It asks the supervisor for a ticket, upgrades, hands the connection to a session
// of package relay, and returns. An [agentpool.Pool] is the way out: connections to the agents, which sessions
// share. It and the [httpserver.Server] are services that the supervisor stops after the sessions:
//
//	pool, err := agentpool.New(agentpool.Options{Target: "agent:50052"})
//	supervisor.Add("agent connections", actors.AfterSessions, pool)
//	handler := &transport.Handler{Supervisor: supervisor, Agents: pool}
//	supervisor.Add("http server", actors.AfterSessions, &httpserver.Server{Listener: l, Handler: handler})
//
// # A drain on the wire
//
//	client (WebSocket)       gateway                          agent (gRPC)
//	   |                        |                                |
//	   |<------ actions --------|<------- actions ---------------|
//	   |------- events -------->|-------- events --------------->|
//	   |        SIGTERM ------->|  /readyz says 503              |
//	   |                        |  … --drain-delay: sessions     |
//	   |                        |    are still admitted …        |
//	   |-- GET, Upgrade ------->|                                |
//	   |<- 503, Retry-After ----|  … --drain-grace: running      |
//	   |                        |    workflows may finish …      |
//	   |                        |-- stopWorkflow --------------->|
//	   |<-- last checkpoint ----|<-- last checkpoint ------------|
//	   |                        |<-- end of stream --------------|  or cancelled at --stop-timeout
//	   |                        |  the lease is released         |
//	   |<-- close 1001 ---------|                                |
//	   |--- close ------------->|                                |  or cut at --close-timeout
//	   |                        |  the HTTP server stops, then the connections to the agent
//
// At --shutdown-timeout the remaining sessions are killed. The first SIGTERM or SIGINT begins the drain, a
// second one makes the deadline now, a third one exits at once. Package actors has the timeline.
//
// # Close codes
//
//	code  reason                               sent when
//	1000                                       the agent ended its stream with OK
//	1001  server shutdown                      the gateway drains
//	1001  agent unavailable                    the agent can't be reached, outside of a drain
//	1002  what was received                    the client sent no WebSocket frame, or one not allowed there
//	1007  what is wrong, and where             a message is no ClientEvent
//	1008  usage quota exceeded,                the agent has no credits for the user
//	      USAGE_QUOTA_NOT_ENTITLED,
//	      USAGE_BILLING_FORBIDDEN
//	1009  message over 4 MiB                   a message is too big for the agent, or the agent's own is
//	1009  start request over 4 MiB             a startRequest is, with what the gateway adds
//	1011  agent error: CODE, internal error    anything else failed
//	1013  workflow is running elsewhere        another session holds the workflow's lease
//	1013  workflow lease lost                  the lease was lost
//	1013  workflow lease unavailable,          the lease store can't be reached, with
//	      try again                            --lease-failure closed
//	3000  authorization withdrawn              the session's token was removed or replaced
//	3003  workflow not allowed                 the grant does not allow the workflow
//	4400  start request expected               the first message is no startRequest, or none came within
//	                                           --start-timeout
//	4400  start request sent twice             a second startRequest came
//	4400  the agent's words                    the agent rejected the input
//
// A client that sees 1001 or 1013 should connect again and start the same workflow. Package client does that,
// with backoff and jitter. A client sees 1006 if the network failed or the session was killed.
//
// A client that was suspended for less than 30 s goes on. After 30 s of silence its session ends. If the
// agent's process is killed, its sessions end with 1001 at once, also during the grace of a drain.
//
// # Newer agents and clients
//
// Fields and actions that the gateway's contract does not have pass both ways with a newer contract, see
// [Handler.Contract] and --contract: a file that "buf build" or "protoc --include_imports
// --descriptor_set_out" writes, or reflection. A contract in which a field has another number or type is
// rejected.
//
// Without it, a client's unknown fields are counted (unknown_field) and dropped. An agent's unknown fields are
// counted (lastcall_agent_fields_dropped_total), logged once each, and dropped. An unknown action is answered
// to the agent with an error, since no client could answer it, counted (unknown_action), and logged once a
// session.
//
// # Browsers
//
// Pages of the gateway's own host may connect, and those of [Handler.AllowOrigins] (--allow-origin). A page's
// WebSocket can't set Authorization: its token is a subprotocol. Offer a second subprotocol, since a browser
// closes a connection that is answered with none of what it offered, and the token is never in the answer:
//
//	new WebSocket("wss://agents.example/api/v4/ai/duo_workflows/ws", ["dap", "lastcall.bearer." + token])
//
// # Runs without a client
//
// A POST of a startRequest's JSON runs a workflow. The answer is a line of JSON for each checkpoint, and an
// empty line every 20 s:
//
//	curl -N -d '{"goal": "look around"}' http://127.0.0.1:8080/api/v4/ai/duo_workflows/workflows/w2/execute
//
// # The code
//
// Each file is one concern. handler.go: which request gets a session. websocket.go: the client's side.
// ping.go and wire.go: what keeps and limits the connection under it. execute.go and run.go: workflows
// without a client. The agent's side is package agentpool, JSON package codec, and the way from the listener
// to the handler package httpserver.
package transport
