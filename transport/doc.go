// Package transport joins sessions to the wire: it upgrades requests to WebSockets and opens
// streams to an agent over gRPC.
//
// [Handler] is the way in: it asks the supervisor for a ticket, upgrades, hands the connection to a
// session and returns. [Pool] is the way out: connections to the agents, which sessions share.
// [HTTPServer] and [Pool] are services that a supervisor drains after the sessions:
//
//	pool, err := transport.NewPool(transport.PoolOptions{Target: "agent:50052"})
//	supervisor.Add("agent connections", actors.AfterSessions, pool)
//	handler := &transport.Handler{Supervisor: supervisor, Agents: pool}
//	supervisor.Add("http server", actors.AfterSessions, &transport.HTTPServer{Listener: l, Handler: handler})
//
// Each file is one concern: handler.go who gets a session and with what, websocket.go the client's
// side, ping.go and wire.go what keeps and limits the connection under it, execute.go and run.go
// workflows without a client, pool.go and stream.go the agent's side, status.go how a gRPC status is
// told to a client, httpserver.go, listener.go and certificate.go listening, health.go what a load balancer asks.
// JSON is in package codec.
package transport
