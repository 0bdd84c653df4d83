package transport_test

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"os/signal"
	"syscall"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport"
	"github.com/lastcall-go/lastcall/transport/agentpool"
	"github.com/lastcall-go/lastcall/transport/httpserver"
)

// A server of your own that carries sessions, and drains them on SIGTERM. The README shows this
// code; a test holds the two together.
func Example() {
	supervisor, err := actors.NewSupervisor(actors.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer supervisor.Close()
	agents, err := agentpool.New(agentpool.Options{Target: "127.0.0.1:50052"})
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux() // your other routes go here too
	mux.Handle("GET "+transport.DefaultPath, &transport.Handler{Supervisor: supervisor, Agents: agents})
	if err := errors.Join( // what sessions need stops after them, last one first
		supervisor.Add("agent connections", actors.AfterSessions, agents),
		supervisor.Add("http server", actors.AfterSessions, &httpserver.Server{Listener: listener, Handler: mux}),
	); err != nil {
		log.Fatal(err)
	}
	terminated, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	<-terminated.Done()
	report, err := supervisor.Drain(context.Background(), actors.Drain{}) // 25 s at most
	log.Println(report.Totals, err)                                       // err names the killed sessions
}
