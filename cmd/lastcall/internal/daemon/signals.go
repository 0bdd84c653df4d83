package daemon

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// Signals are the operator's: the first begins the drain, the second makes its deadline now, the
// third exits at once, whatever the process hangs on by then.
type Signals struct {
	received chan os.Signal
	outlived func() // stops outliving the reader of the standard error
	first    chan os.Signal
	exit     func()
	Patience context.Context // done with the second
	second   context.CancelFunc
}

// WatchSignals watches until Stop is called. exit ends the process with the third signal. A hangup counts too where it has no other meaning: the
// default would end the process with all its sessions. Until then the process outlives the reader of its
// log.
func WatchSignals(hangup bool, exit func()) *Signals {
	s := &Signals{received: make(chan os.Signal, 3), outlived: OutliveReaders(), first: make(chan os.Signal, 1), exit: exit}
	s.Patience, s.second = context.WithCancel(context.Background())
	signal.Notify(s.received, syscall.SIGTERM, syscall.SIGINT)
	if hangup {
		signal.Notify(s.received, syscall.SIGHUP)
	}
	go s.watch()
	return s
}

func (s *Signals) watch() {
	n := 0
	for received := range s.received {
		n++
		switch n {
		case 1:
			s.first <- received
		case 2:
			s.second()
		default:
			s.exit()
		}
	}
}

// Context is done with the first signal, which is logged, or when cancel is called.
func (s *Signals) Context(log *slog.Logger) (ctx context.Context, cancel context.CancelFunc) {
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

// Stop lets signals have their default effect again.
func (s *Signals) Stop() {
	signal.Stop(s.received) // nothing is sent any more when it returns
	close(s.received)
	s.outlived()
	s.second()
}
