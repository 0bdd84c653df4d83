// Package admin is the operator's API of a gateway over HTTP: open sessions and what they wait for,
// drains of everything or of a part, events as they happen, metrics, profiles. [Handler] answers it
// and [Client] asks it; types.go has what both say as JSON.
//
// A program that embeds the supervisor serves it on a listener of its own:
//
//	api := admin.New(admin.Options{Supervisor: supervisor, Page: page.Handler()})
//	supervisor.Add("admin server", actors.AfterSessions, &httpserver.Server{
//		Listener:   listener, // 127.0.0.1:8081
//		Handler:    api,
//		OnShutdown: api.Close, // ends the streams of events
//	})
//
// # Requests
//
//	GET  /healthz /readyz         200; /readyz is 503 from a drain's first moment until it is resumed,
//	                              and while [Options].Ready says so
//	GET  /sessions                [Sessions], with phase= workflow= agent= kind= principal=
//	                              q= sort= offset= limit=
//	GET  /sessions/{id}           [Session]
//	POST /sessions/{id}/drain     [Drain], of one session
//	GET  /drain                   [State]
//	GET  /drain/estimate          [Estimate], of what POST /drain with the same parameters would take, or
//	                              the drain of one session with id=
//	POST /drain                   [Drain], of everything; with sessions= older-than= agent= kind= principal=
//	                              of a part
//	POST /resume                  [State]
//	GET  /history                 [history.View]: samples of the last hour, and the last 20 drains
//	GET  /drains/{id}             [history.Summary], of one of these drains
//	GET  /events                  a text/event-stream of [Event]: the first is the [State]
//	GET  /metrics /debug/pprof/   for the tools that know them
//	GET  /                        the page
//
// A drain takes deadline=, grace=, batch-size=, batch-interval= and reason= besides, in the query or as
// a form of 4 KiB at most. A drain of everything leaves the process up, refusing sessions, until SIGTERM
// or POST /resume. An unknown, repeated or empty parameter is refused: a slip of the pen must not
// drain more than was meant. Errors are a line of text. A 503 says that the supervisor does not
// answer; a POST may then still come to pass.
//
// # Who may ask
//
// With an Authorizer, each request needs a grant. Basic credentials reach the Authorizer as a bearer token, so that a
// browser can ask for them. Without an Authorizer each request is let in, but its Host must be local, so that no
// page of another site is led here. The health endpoints need no authorization.
//
// Each POST must have the header X-Lastcall-Admin, with any value. Pages of other origins can't set it; what they
// send is refused besides.
//
//	curl -X POST -H 'X-Lastcall-Admin: 1' 'http://127.0.0.1:8081/drain?sessions=1'
//
// Each file is one concern: handler.go the routes, protect.go authorization, params.go and answer.go
// what a request says and how it is answered, sessions.go, drain.go and history.go the requests, events.go and
// hub.go the stream of events, wire.go the JSON, profiles.go profiles, client.go the other end.
package admin
