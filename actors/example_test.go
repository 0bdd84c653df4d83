package actors_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/lastcall-go/lastcall/actors"
)

// One session and one service of your own, and a drain that ends both in order.
func ExampleSupervisor() {
	supervisor, err := actors.NewSupervisor(actors.Options{MaxSessions: 1000})
	check(err)
	defer supervisor.Close()

	store := actors.ServiceFunc(func(ctx context.Context) error {
		<-ctx.Done() // no session is left now
		fmt.Println("the store stops")
		return nil
	})
	check(supervisor.Add("store", actors.AfterSessions, store))

	ticket, err := supervisor.Admit(context.Background()) // at the request, before its upgrade
	check(err)
	serving := make(chan struct{})
	go func() {
		defer ticket.Cancel()
		_ = ticket.Run(actors.Connection{Kind: "terminal"}, func(ctx context.Context) error {
			close(serving)
			<-ctx.Done() // or until the client leaves
			var stop *actors.Stop
			if errors.As(context.Cause(ctx), &stop) {
				fmt.Println("the session says goodbye:", stop.Reason)
			}
			return nil
		})
	}()
	<-serving

	report, err := supervisor.Drain(context.Background(), actors.Drain{
		Reason:   "new version",
		Deadline: time.Now().Add(25 * time.Second),
	})
	fmt.Println("drained:", report.Totals[actors.Drained], err)

	// Output:
	// the session says goodbye: new version
	// the store stops
	// drained: 1 <nil>
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
