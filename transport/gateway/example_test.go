package gateway_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/agentpool"
	"github.com/lastcall-go/lastcall/transport/gateway"
	"github.com/lastcall-go/lastcall/transport/httpserver"
	"github.com/lastcall-go/lastcall/transport/metrics"
)

// A gateway with the operator's page, its API, health and metrics, that drains when its context is done.
func Example() {
	sessions, admin := listen(), listen()
	ctx, stop := context.WithCancel(context.Background()) // signal.NotifyContext in a program

	g, err := gateway.New(gateway.Options{
		Sessions: sessions,
		Admin:    admin,
		Agent:    agentpool.Options{Target: "127.0.0.1:50052"},
		Started: func() { // in this example: ask whether it is ready, and end it
			go func() {
				defer stop()
				fmt.Println("it is", get("http://"+admin.Addr().String()+"/readyz"))
				fmt.Println("metrics:", strings.Contains(get("http://"+admin.Addr().String()+"/metrics"), "lastcall_sessions"))
			}()
		},
	})
	check(err)
	fmt.Println("drained:", g.Run(ctx))

	// Output:
	// it is ready
	// metrics: true
	// drained: <nil>
}

// A supervisor of your own gets metrics and records by one call.
func ExampleObservers() {
	supervisor, err := actors.NewSupervisor(actors.Options{})
	check(err)
	defer supervisor.Close()
	figures, err := metrics.New(metrics.Options{Snapshot: supervisor.Snapshot})
	check(err)
	defer gateway.Observers{Metrics: figures}.Attach(supervisor)() // Log: slog.Default(), Traces: …

	mux := http.NewServeMux()
	mux.Handle("GET /metrics", figures.Handler())

	// Output:
}

func listen() net.Listener {
	listener, err := httpserver.Listen("127.0.0.1:0")
	check(err)
	return listener
}

func get(url string) string {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(url)
	check(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	check(err)
	return strings.TrimSpace(string(text))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
