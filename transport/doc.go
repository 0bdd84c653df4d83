// Package transport joins sessions to the wire: it upgrades requests to WebSockets and opens
// streams to an agent over gRPC.
//
// [Handler] is the way in: it asks the supervisor for a ticket, upgrades, hands the connection to a
// session and returns. [Pool] is the way out: connections to one agent that all sessions share.
// [HTTPServer] and [Pool] are services that a supervisor drains after the sessions:
//
//	pool, err := transport.NewPool(transport.PoolOptions{Target: "agent:50052"})
//	supervisor.Add("agent connections", actors.AfterSessions, pool)
//	handler := &transport.Handler{Supervisor: supervisor, Agents: pool}
//	supervisor.Add("http server", actors.AfterSessions, &transport.HTTPServer{Listener: l, Handler: handler})
//
// Each file is one concern: handler.go the upgrade, websocket.go the client's side, wire.go the
// connection under it, pool.go and stream.go the agent's side, status.go how a gRPC status is told
// to a client, httpserver.go listening. JSON is in package codec.
package transport
