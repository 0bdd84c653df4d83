package httpserver_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/httpserver"
)

// A server that a drain stops after the last session, with the health checks of an orchestrator.
func ExampleServer() {
	supervisor, err := actors.NewSupervisor(actors.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer supervisor.Close()
	listener, err := httpserver.Listen("127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux() // your sessions go here too
	mux.Handle("/", httpserver.Health(supervisor))
	server := &httpserver.Server{Listener: listener, Handler: mux}
	if err := supervisor.Add("http server", actors.AfterSessions, server); err != nil {
		log.Fatal(err)
	}

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get("http://" + listener.Addr().String() + "/readyz")
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	text, _ := io.ReadAll(answer.Body)
	fmt.Print(string(text))

	_, err = supervisor.Drain(context.Background(), actors.Drain{})
	fmt.Println("drained:", err)

	// Output:
	// ready
	// drained: <nil>
}
