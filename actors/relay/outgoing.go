package relay

import "github.com/lastcall-go/lastcall/proto/dap"

// outgoing is the way from a session to its agent. It sees to it that one goroutine sends at a
// time (grpc-go allows no more), that startRequest is first and that stopWorkflow is last.
type outgoing struct {
	ready  chan struct{} // closed once there is a stream, or will be none
	turn   chan struct{} // full during a Send, which blocks as long as the agent doesn't read
	stream Stream        // nil until start
	last   bool          // nothing more may be sent

	// confirm reports whether a message may be sent. It is asked with the turn, right before the
	// message is sent: the wait for the turn can be long.
	confirm func() bool
}

func newOutgoing(confirm func() bool) *outgoing {
	return &outgoing{ready: make(chan struct{}), turn: make(chan struct{}, 1), confirm: confirm}
}

// start sends the startRequest on the stream that all later messages go to. It reports false, and
// sends nothing, if the session was stopped before, or may send nothing.
func (o *outgoing) start(stream Stream, request Message) bool {
	o.lock()
	defer o.unlock()
	if o.last || !o.confirm() {
		return false
	}
	o.stream = stream
	close(o.ready)
	_ = stream.Send(request) // a stream that broke says so in Receive
	return true
}

// send passes a message on, a client's or a tool's; it waits for start. What comes after the last
// message, or may not be sent, is dropped.
func (o *outgoing) send(message Message) {
	<-o.ready
	o.lock()
	defer o.unlock()
	if !o.last && o.confirm() {
		_ = o.stream.Send(message)
	}
}

// stop makes stopWorkflow the last message. It reports false, and sends nothing, if there is no
// workflow to stop: startRequest never went out, and now never will. A reason that ends the workflow
// for good is not for a session that may send nothing: another one may have resumed the workflow.
func (o *outgoing) stop(reason string) bool {
	o.lock()
	defer o.unlock()
	o.finish()
	if o.stream == nil {
		return false
	}
	if !resumable(reason) && !o.confirm() {
		reason = stopPingFailed
	}
	_ = o.stream.Send(stopWorkflow(reason))
	return true
}

// abandon says that there will be no stream.
func (o *outgoing) abandon() {
	o.lock()
	defer o.unlock()
	o.finish()
}

func (o *outgoing) finish() {
	if o.stream == nil && !o.last {
		close(o.ready)
	}
	o.last = true
}

// lock is no sync.Mutex, because it may be held for long: time in a synctest bubble stands still
// while a goroutine waits for a mutex.
func (o *outgoing) lock()   { o.turn <- struct{}{} }
func (o *outgoing) unlock() { <-o.turn }

// stopWorkflow is a message that can always be encoded: the reasons are this package's own.
func stopWorkflow(reason string) Message {
	message, _ := MessageOf(&dap.ClientEvent{Response: &dap.ClientEvent_StopWorkflow{
		StopWorkflow: &dap.StopWorkflowRequest{Reason: reason},
	}})
	return message
}
