package main

import (
	"os"
	"os/signal"
	"syscall"
)

// signals are the operator's: the first begins the drain, the second makes its deadline now, the
// third exits at once.
type signals struct {
	channel  chan os.Signal
	received <-chan os.Signal
	done     chan struct{}
}

func watchSignals() *signals {
	c := make(chan os.Signal, 3)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGINT)
	return &signals{channel: c, received: c, done: make(chan struct{})}
}

// hurry is for the time after the first signal. It returns when the signals are stopped.
func (s *signals) hurry(now func()) {
	select {
	case <-s.channel:
		now()
	case <-s.done:
		return
	}
	select {
	case <-s.channel:
		os.Exit(exitKilled)
	case <-s.done:
	}
}

func (s *signals) stop() {
	signal.Stop(s.channel)
	close(s.done)
}
