package scripted

import (
	"time"

	"google.golang.org/grpc/status"
)

// pause listens to the client for a while, if only for what has already come.
func (r *run) pause(pace time.Duration) error {
	if pace <= 0 {
		return r.await(due, "")
	}
	return r.await(time.After(pace), "")
}

// due is a timer that has fired.
var due = func() <-chan time.Time {
	fired := make(chan time.Time)
	close(fired)
	return fired
}()

// await returns nil when the timer fires or the answer to requestID, if not empty, has come. Its
// error says why the stream must end instead.
func (r *run) await(timer <-chan time.Time, requestID string) error {
	for {
		select {
		case <-timer:
			return nil
		case got := <-r.inbox:
			answered, err := r.hear(got, requestID)
			if answered || err != nil {
				return err
			}
		case <-r.stopping:
			return errAgentStopping
		case <-r.stream.Context().Done():
			return r.cancelled()
		}
	}
}

// hear reports whether the client answered requestID, and returns an error if it ends the stream.
func (r *run) hear(got received, requestID string) (answered bool, err error) {
	if got.err != nil {
		return false, got.err
	}
	r.agent.options.Observe(Received{r.id, got.event})
	if stop := got.event.GetStopWorkflow(); stop != nil {
		return false, stopRequested{stop.GetReason()}
	}
	answer := got.event.GetActionResponse()
	return requestID != "" && answer.GetRequestID() == requestID, nil
}

func (r *run) cancelled() error {
	return status.FromContextError(r.stream.Context().Err()).Err()
}
