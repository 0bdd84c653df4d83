// Package httpserver is an HTTP server that stops in order.
//
// A [Server] is a service of a supervisor: it goes on to answer while the sessions drain, and then closes its
// [Listener] without resetting a connection. It limits headers, bodies, time and descriptors. [Proxies] and
// [ProxyListener] find the client behind trusted proxies, and [Health] answers the probes of an orchestrator.
// Package httpserver knows of no session: it serves any [net/http.Handler].
//
// [Server].RequestTimeout is for plain requests; sessions have none. MaxBody bounds the body of a request.
// Requests under way at the end have RequestGrace, or what is left of the drain's time. Middleware must pass the
// [net/http.ResponseWriter] on, or have the method Unwrap; otherwise a session can't lift the timeouts, and the
// request is answered with 500.
//
// Use [Listen] in place of [net.Listen]: on Linux, connections that wait to be accepted when the port closes
// are then answered, not reset.
package httpserver
