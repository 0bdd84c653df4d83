package actorstest

import "time"

// Call scripts a method of a fake. The zero value is a method that behaves and takes no time.
type Call struct {
	Takes  time.Duration // how long the method takes, unless it is interrupted before
	Hangs  bool          // the method returns only when it is interrupted
	Panics bool          // the method panics with "in " and its name, such as "in Client.Send"
	Err    error         // what the method returns
}

func (c *Call) panics(method string) {
	if c.Panics {
		panic("in " + method)
	}
}

// pass waits as the script says, and reports false if it was interrupted. It makes no timer of no time:
// the race detector of Go 1.26 crashes where two goroutines of a bubble find one due at the same time
// (https://go.dev/issue/78156).
func (c *Call) pass(interrupted <-chan struct{}) bool {
	if c.Hangs {
		<-interrupted
		return false
	}
	if c.Takes <= 0 {
		return true
	}
	timer := time.NewTimer(c.Takes)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-interrupted:
		return false
	}
}
