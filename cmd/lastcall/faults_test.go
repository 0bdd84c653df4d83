package main

import (
	"context"
	"syscall"
	"testing"

	"github.com/lastcall-go/lastcall/transport/client"
)

func TestServeWaitsForTheStartRequestAsLongAsItsFlagSays(t *testing.T) {
	p := startServe(t, "no daemon", "--start-timeout", "50ms")
	conn, err := client.Dial(t.Context(), client.Config{URL: p.url})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Cut()
	ends := make(chan error, 1)
	go func() {
		_, err := conn.Receive(context.Background())
		ends <- err
	}()
	wantClose(t, ends, 4400, "start request expected")
	stopped := p.record("session stopped")
	if stopped["code"] != 4400.0 || stopped["outcome"] != "refused" {
		t.Errorf("the log says %v", stopped)
	}
	p.drain(syscall.SIGTERM, 0)
}
