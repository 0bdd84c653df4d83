package serveflags

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/transport/gateway"
)

// reloadable is something that SIGHUP reads again. What was read before stays in force if that fails.
type reloadable struct {
	what string
	read func(context.Context) error
	due  bool // it was not read yet, and is tried again until it is
}

// retryInterval is the time between two attempts at what is due.
const retryInterval = 5 * time.Second

// reloadOnHangup is the service that reads these again. From now on, and in a drain, SIGHUP ends no process.
func reloadOnHangup(all []reloadable, log *slog.Logger) []gateway.Service {
	if len(all) == 0 {
		return nil
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	run := actors.ServiceFunc(func(ctx context.Context) error {
		retry := time.NewTicker(retryInterval)
		defer retry.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-hangups:
				reload(ctx, all, false, log)
			case <-retry.C:
				reload(ctx, all, true, log)
			}
		}
	})
	return []gateway.Service{{Name: "reload", Stage: actors.AfterSessions, Run: run}}
}

func reload(ctx context.Context, all []reloadable, dueOnly bool, log *slog.Logger) {
	for i := range all {
		if dueOnly && !all[i].due {
			continue
		}
		err := all[i].read(ctx)
		switch {
		case err == nil:
			all[i].due = false
			log.Info("read again", "what", all[i].what)
		case !dueOnly:
			log.Error("not read again, what was read before stays in force", "what", all[i].what, "error", err)
		}
	}
}
