package measure

import (
	"fmt"
	"time"

	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
)

// progressLine shows what a run is at: on a terminal as one line that changes, elsewhere as a line
// for each phase.
type progressLine struct{ console *terminal.Console }

// during does the work. The status is asked for, from another goroutine, while the work goes on; nil
// means that there is none.
func (p *progressLine) during(phase string, status func() string, work func()) {
	if !p.console.IsTerminal() {
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
	p.console.Show("")
}

func (p *progressLine) showUntil(done <-chan struct{}, phase string, status func() string) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		p.console.Show(phase + terminal.Suffix(": ", status()))
		select {
		case <-tick.C:
		case <-done:
			return
		}
	}
}
