package redislease_test

import (
	"log"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport"
	"github.com/lastcall-go/lastcall/transport/redislease"
)

// Leases that several gateways share. The store is a service that stops after the sessions.
func Example() {
	supervisor, err := actors.NewSupervisor(actors.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer supervisor.Close()
	store, err := redislease.New(redislease.Options{
		URL:       "redis://127.0.0.1:6379",
		OnWarning: func(err error) { log.Print(err) },
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := supervisor.Add("lease store", actors.AfterSessions, store); err != nil {
		log.Fatal(err)
	}
	_ = &transport.Handler{Supervisor: supervisor, Leaser: store} // goes on your mux
}
