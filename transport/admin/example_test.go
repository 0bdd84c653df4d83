package admin_test

import (
	"context"
	"fmt"
	"log"
	"net/http/httptest"
	"net/url"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/admin"
)

// The admin API of your own supervisor, and its client.
func ExampleHandler() {
	supervisor, err := actors.NewSupervisor(actors.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer supervisor.Close()
	handler := admin.New(admin.Options{Supervisor: supervisor}) // Page: page.Handler(), for the operator's page
	defer handler.Close()
	server := httptest.NewServer(handler) // a loopback listener in a program
	defer server.Close()

	base, err := url.Parse(server.URL)
	if err != nil {
		log.Fatal(err)
	}
	client := admin.NewClient(base, "")
	defer client.Close()
	state, err := client.State(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(state.State)
	drain, err := client.Drain(context.Background(), admin.DrainOptions{Reason: "new version"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("draining:", drain.Reason)

	// Output:
	// serving
	// draining: new version
}
