package client

import (
	"context"
	"errors"
	"time"
)

// Run runs one workflow to its end. It returns nil when the gateway closed with 1000; a
// [*CloseError] or a [*RefusedError] when trying again would be of no use; the error of ctx when
// that is done, after closing the connection with 1000 (which may take 10 s); or what is wrong with
// cfg. Until then it connects again as often as it takes: only ctx limits it.
//
// Nothing of Run is left when it returns.
func Run(ctx context.Context, cfg Config) error {
	cfg, err := cfg.complete()
	if err != nil {
		return err
	}
	r := &run{cfg: cfg, backoff: backoff{min: cfg.MinBackoff, max: cfg.MaxBackoff}}
	for {
		cause := r.connect(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case finished(cause):
			return nil
		case !passing(cause):
			return cause
		}
		if err := r.pause(ctx, cause); err != nil {
			return err
		}
	}
}

type run struct {
	cfg     Config
	backoff backoff
}

// connect opens a connection, serves it and returns how it ended.
func (r *run) connect(ctx context.Context) error {
	conn, err := Dial(ctx, r.cfg)
	if err != nil {
		return err
	}
	r.cfg.Observe(Connected{WorkflowID: r.cfg.Start.WorkflowID})
	s := newSession(conn, &r.cfg)
	err = s.serve(ctx)
	if s.received {
		r.backoff.reset()
	}
	var closed *CloseError
	if errors.As(err, &closed) {
		r.cfg.Observe(Closed{Code: closed.Code, Reason: closed.Reason})
	}
	return err
}

// pause waits before the next connection.
func (r *run) pause(ctx context.Context, cause error) error {
	asked, most := time.Duration(0), r.cfg.MaxBackoff
	var refused *RefusedError
	var closed *CloseError
	switch {
	case errors.As(cause, &refused):
		asked = refused.RetryAfter
	case errors.As(cause, &closed) && closed.Code == codeTryAgainLater:
		most = min(most, maxElsewhere)
	}
	delay := r.backoff.next(asked, most)
	r.cfg.Observe(Reconnecting{Attempt: r.backoff.attempts, Delay: delay, Cause: cause})
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
