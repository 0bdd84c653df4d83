package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// signals are the operator's: the first begins the drain, the second makes its deadline now, the
// third exits at once, whatever the process hangs on by then.
type signals struct {
	received chan os.Signal
	outlived func() // stops outliving the reader of the standard error
	first    chan os.Signal
	patience context.Context // is over with the second
	second   context.CancelFunc
}

// watchSignals watches until stop is called. A hangup counts too where it has no other meaning: the
// default would end the process with all its sessions. Until then the process outlives the reader of its
// log.
func watchSignals(hangup bool) *signals {
	s := &signals{received: make(chan os.Signal, 3), outlived: outliveReaders(), first: make(chan os.Signal, 1)}
	s.patience, s.second = context.WithCancel(context.Background())
	signal.Notify(s.received, syscall.SIGTERM, syscall.SIGINT)
	if hangup {
		signal.Notify(s.received, syscall.SIGHUP)
	}
	go s.watch()
	return s
}

func (s *signals) watch() {
	n := 0
	for received := range s.received {
		n++
		switch n {
		case 1:
			s.first <- received
		case 2:
			s.second()
		default:
			os.Exit(exitKilled)
		}
	}
}

// context is done with the first signal, which is logged, or when cancel is called.
func (s *signals) context(log *slog.Logger) (ctx context.Context, cancel context.CancelFunc) {
	ctx, cancel = context.WithCancel(context.Background())
	go func() {
		select {
		case received := <-s.first:
			log.Info("signal received", "signal", received.String())
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

func (s *signals) stop() {
	signal.Stop(s.received) // nothing is sent any more when it returns
	close(s.received)
	s.outlived()
	s.second()
}
