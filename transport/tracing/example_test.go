package tracing_test

import (
	"context"
	"log"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/tracing"
)

// Spans of a supervisor's sessions and drains. The tracing is the first service, so that it stops last.
func Example() {
	supervisor, err := actors.NewSupervisor(actors.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer supervisor.Close()
	spans, err := tracing.New(context.Background(), tracing.Options{
		Endpoint: "http://127.0.0.1:4317",
		OnError:  func(err error) { log.Print(err) },
	})
	if err != nil {
		log.Fatal(err)
	}
	spans.Follow(supervisor)
	if err := supervisor.Add("tracing", actors.AfterSessions, spans); err != nil {
		log.Fatal(err)
	}
}
