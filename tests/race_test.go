package tests

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/client"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

// Clients that arrive while the drain begins get an answer that says to come back, all of them: the one that was
// admitted a moment before the drain, and the one that came a moment after.
func TestNobodySlipsThroughWhileTheDrainBegins(t *testing.T) {
	const rounds, clients = 60, 20
	agent := newAgent(t, scripted.Options{Steps: waiting})
	seen := make(map[string]int)
	for round := range rounds {
		g := newGateway(t, agent, actors.Options{})
		ends := make(chan error, clients)
		inside := make(chan struct{}, clients)
		var arriving sync.WaitGroup
		for i := range clients {
			arriving.Go(func() {
				time.Sleep(rand.N(8 * time.Millisecond))
				ends <- g.visit(fmt.Sprintf("w%d-%d", round, i), inside)
			})
		}
		for range rand.N(clients) { // all clients may be inside when the drain begins, or none
			wait(t, inside, "clients")
		}
		report := g.drain()
		arriving.Wait()
		close(ends)
		admitted := 0
		for err := range ends {
			how := whatHappened(err)
			if how == "" {
				t.Errorf("round %d: a client saw %v", round, err)
			}
			if how == toldToComeBack {
				admitted++
			}
			seen[how]++
		}
		if len(report.Sessions) != admitted {
			t.Errorf("round %d: the report has %d sessions, of %d clients that had one", round, len(report.Sessions), admitted)
		}
		for _, session := range report.Sessions {
			if session.Outcome != actors.Drained {
				t.Errorf("round %d: a session is %s", round, session.Outcome)
			}
		}
		g.supervisor.Close()
	}
	t.Logf("of %d clients: %v", rounds*clients, seen)
	if seen[toldToComeBack] == 0 || seen[sentAway] == 0 {
		t.Error("there was no race")
	}
}

// visit opens a session, says so, and returns how it ended. It doesn't take longer than patience.
func (g *gateway) visit(workflow string, inside chan<- struct{}) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := client.Dial(ctx, g.config(workflow))
	if err != nil {
		return err
	}
	defer conn.Cut()
	inside <- struct{}{}
	for {
		if _, err := conn.Receive(ctx); err != nil {
			return err
		}
	}
}

// What may happen to a client that comes while the drain begins.
const (
	toldToComeBack = "1001"
	sentAway       = "503"
	nobodyThere    = "no listener"
)

// whatHappened is empty for what must not happen.
func whatHappened(err error) string {
	var closed *client.CloseError
	var refused *client.RefusedError
	switch {
	case errors.As(err, &closed) && closed.Code == 1001 && closed.Reason == "server shutdown":
		return toldToComeBack
	case errors.As(err, &refused) && refused.Status == http.StatusServiceUnavailable && refused.RetryAfter > 0:
		return sentAway
	case errors.As(err, &closed):
		return ""
	// A listener that closes resets the connections that were not accepted; a write then sees EPIPE.
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return nobodyThere
	}
	return ""
}
