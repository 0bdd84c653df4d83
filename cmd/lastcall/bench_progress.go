package main

import (
	"fmt"
	"time"
)

// benchProgress shows what a run is at: on a terminal as one line that changes, elsewhere as a line
// for each phase.
type benchProgress struct{ console *console }

// during does the work. The status is asked for, from another goroutine, while the work goes on; nil
// means that there is none.
func (p *benchProgress) during(phase string, status func() string, work func()) {
	if !p.console.isTerminal() {
		fmt.Fprintln(p.console, phase)
		work()
		return
	}
	if status == nil {
		status = func() string { return "" }
	}
	done, shown := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(shown)
		p.showUntil(done, phase, status)
	}()
	work()
	close(done)
	<-shown
	p.console.show("")
}

func (p *benchProgress) showUntil(done <-chan struct{}, phase string, status func() string) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		p.console.show(phase + suffix(": ", status()))
		select {
		case <-tick.C:
		case <-done:
			return
		}
	}
}
