package agentpool_test

import (
	"fmt"
	"log"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport"
	"github.com/lastcall-go/lastcall/transport/agentpool"
)

// The sessions of a handler share the pool's connections. The pool is a service that stops after them.
func ExamplePool() {
	supervisor, err := actors.NewSupervisor(actors.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer supervisor.Close()
	agents, err := agentpool.New(agentpool.Options{Target: "127.0.0.1:50052", StreamsPerConnection: 50})
	if err != nil {
		log.Fatal(err)
	}
	if err := supervisor.Add("agent connections", actors.AfterSessions, agents); err != nil {
		log.Fatal(err)
	}
	handler := &transport.Handler{Supervisor: supervisor, Agents: agents} // goes on your mux
	_ = handler
	fmt.Println(agents.Stats().Connections, "connections are open")

	// Output:
	// 0 connections are open
}
