package tests

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/client"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

const sigterm = syscall.SIGTERM

// TestInstances is about several processes that share an agent and a lease store, and about what
// their clients and the agent see when one of them, or the store, goes away.
func TestInstances(t *testing.T) {
	runWithBinary(t, []binaryTest{
		{"a rolling restart loses nothing", rollingRestart},
		{"a fleet that is drained one after the other loses nothing", rollingDrain},
		{"a crashed instance's workflows resume once their leases have run out", crash},
		{"without a store sessions go on, if that is wanted", storeAwayOpen},
		{"without a store sessions are refused, if that is wanted", storeAwayClosed},
	})
}

func rollingRestart(t *testing.T, binary string) {
	const (
		workflows = 100
		promise   = 10 * time.Second // from a connection's end to the next action, on a machine that does much else
	)
	agent := newWitness(t, 100*time.Millisecond, journey(30))
	redis := startRedis(t)
	serve := func() *process {
		return startInstance(t, binary, agent, redis, "--drain-delay", "500ms")
	}
	instances := []*process{serve(), serve()}
	b := newBalancer(t, instances...)
	gate := make(chan struct{}) // no client finishes before the last restart
	var all []*traveller
	for i := range workflows {
		all = append(all, travel(t, b.url(), fmt.Sprint("workflow-", i), gate, 0))
	}
	for _, c := range all {
		c.waitFor("an action", func(p *passage) bool { return p.actions > 0 })
	}

	restarted := make(chan struct{})
	var late []*traveller
	var starting sync.WaitGroup
	starting.Go(func() {
		for {
			select {
			case <-restarted:
				return
			case <-time.After(50 * time.Millisecond):
				late = append(late, travel(t, b.url(), fmt.Sprint("late-", len(late)), gate, 0))
			}
		}
	})
	for _, i := range []int{0, 1, 0} {
		begun := time.Now()
		instances[i].signal(sigterm)
		if code := instances[i].exit(patience); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
		drained := time.Since(begun)
		report := instances[i].report()
		if n := report.Totals[actors.Drained]; n == 0 || n != len(report.Sessions) {
			t.Errorf("the drain ended %d sessions with %v, want all drained", len(report.Sessions), report.Totals)
		}
		// A fast machine has the instance back before all clients have come back, which then see fewer
		// drains.
		eventually(t, "all workflows run elsewhere", func() bool { return agent.runs(all) })
		instances[i] = serve()
		b.use(t, instances...)
		t.Logf("instance %d drained %d sessions in %v, and was back after %v", i, len(report.Sessions),
			drained.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
	}
	close(restarted)
	starting.Wait()
	close(gate)

	var waits []time.Duration
	refused := 0
	for i, c := range append(all, late...) {
		c.wantFinished()
		p := c.soFar()
		if len(p.closes) == 1 && i >= workflows { // begun on an instance that wasn't restarted any more
			c.wantCloses("1000")
		} else {
			c.wantCloses("1001 server shutdown", "1000")
		}
		if i < workflows && len(p.closes) < 3 {
			t.Errorf("%s: connections ended with %q, want it to have gone through two drains at least", c.workflow, p.closes)
		}
		waits = append(waits, p.waits...)
		refused += p.refused
	}
	t.Logf("%d workflows, %d of them begun meanwhile; %d times resumed, after %s; %d attempts found no instance",
		len(all)+len(late), len(late), len(waits), spread(waits), refused)
	if longest := slices.Max(waits); longest > promise {
		t.Errorf("a client waited %v for its next action, want %v at most", longest, promise)
	}
	if n := redis.leases(); n != 0 {
		t.Errorf("%d leases are left", n)
	}
	agent.wantOneAtATime()
	agent.wantAnswersOf(append(all, late...))
}

// rollingDrain drains three instances under load with one command, which shows each step.
func rollingDrain(t *testing.T, binary string) {
	const workflows = 60
	agent := newWitness(t, 100*time.Millisecond, journey(30))
	redis := startRedis(t)
	var instances []*process
	args := []string{"fleet", "--drain", "--resume", "--yes", "--reason", "rebalance"}
	for range 3 {
		p := startInstance(t, binary, agent, redis, "--drain-delay", "500ms")
		instances, args = append(instances, p), append(args, "--admin", p.admin)
	}
	b := newBalancer(t, instances...)
	gate := make(chan struct{})
	var all []*traveller
	for i := range workflows {
		all = append(all, travel(t, b.url(), fmt.Sprint("workflow-", i), gate, 0))
	}
	for _, c := range all {
		c.waitFor("an action", func(p *passage) bool { return p.actions > 0 })
	}

	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, args...).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	shown := string(out)
	for i, p := range instances {
		for _, step := range []string{"drains", "ready again after"} {
			_, rest, found := strings.Cut(shown, fmt.Sprintf("%d/3 %s %s", i+1, p.admin, step))
			if !found {
				t.Fatalf("no step %q of instance %d in its order:\n%s", step, i+1, out)
			}
			shown = rest
		}
	}
	close(gate)
	drained := 0
	for _, c := range all {
		c.wantFinished()
		c.wantCloses("1001 rebalance", "1000")
		drained += len(c.soFar().closes) - 1
	}
	if drained < workflows {
		t.Errorf("%d sessions were drained, want %d at least: each instance was", drained, workflows)
	}
	agent.wantOneAtATime()
	agent.wantAnswersOf(all)
}

// startInstance runs one of several gateways.
func startInstance(t *testing.T, binary string, agent *witness, redis *redisServer, args ...string) *process {
	t.Helper()
	return startServe(t, binary, append([]string{"--agent", agent.address, "--lock", "--lease-url", redis.url()}, args...)...)
}

// lastQuestion is a client's to answer when the test lets it.
const lastQuestion = "last"

// journey is a scenario of so many questions with a checkpoint each, and the last question.
func journey(length int) (steps []scripted.Step) {
	ask := func(directory string) scripted.Step {
		return scripted.Ask(&dap.Action{Action: &dap.Action_Mkdir{Mkdir: &dap.Mkdir{DirectoryPath: directory}}})
	}
	for i := range length {
		steps = append(steps, ask(fmt.Sprint(i)), scripted.Checkpoint(fmt.Sprint("made ", i)))
	}
	return append(steps, ask(lastQuestion))
}

// witness is an agent that sees the streams of all instances.
type witness struct {
	t       *testing.T
	address string

	mu      sync.Mutex
	running map[string]uint64      // streams, by workflow
	started map[string][]time.Time // by workflow
	stopped map[string][]string    // reasons, by workflow
	wrong   []misplay
	steps   map[string]int // behind each workflow, as its latest stream began
	answers map[string]int // by requestID
}

// misplay is a workflow that was played in two places at once, or lost steps.
type misplay struct{ workflow, what string }

func newWitness(t *testing.T, pace time.Duration, steps []scripted.Step) *witness {
	t.Helper()
	w := &witness{
		t:       t,
		running: make(map[string]uint64),
		started: make(map[string][]time.Time),
		stopped: make(map[string][]string),
		steps:   make(map[string]int),
		answers: make(map[string]int),
	}
	w.address = startAgent(t, scripted.Options{Pace: pace, Steps: steps, Observe: w.observe})
	return w
}

func (w *witness) observe(event scripted.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e := event.(type) {
	case scripted.Started:
		if first, ok := w.running[e.WorkflowID]; ok {
			w.wrong = append(w.wrong, misplay{e.WorkflowID, fmt.Sprintf("stream %d began while stream %d ran", e.Stream, first)})
		}
		if e.ResumedFrom < w.steps[e.WorkflowID] {
			w.wrong = append(w.wrong, misplay{e.WorkflowID, fmt.Sprintf("stream %d began at step %d, one before at %d", e.Stream, e.ResumedFrom, w.steps[e.WorkflowID])})
		}
		w.running[e.WorkflowID], w.steps[e.WorkflowID] = e.Stream, e.ResumedFrom
		w.started[e.WorkflowID] = append(w.started[e.WorkflowID], time.Now())
	case scripted.Received:
		if stop := e.Event.GetStopWorkflow(); stop != nil {
			w.stopped[e.WorkflowID] = append(w.stopped[e.WorkflowID], stop.GetReason())
		}
		if answer := e.Event.GetActionResponse(); answer != nil {
			w.answers[answer.GetRequestID()]++
		}
	case scripted.Ended:
		if w.running[e.WorkflowID] == e.Stream {
			delete(w.running, e.WorkflowID)
		}
	}
}

// starts are the times at which a workflow's streams began.
func (w *witness) starts(workflow string) []time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.started[workflow])
}

// stops are the reasons of the stopWorkflows that came for a workflow.
func (w *witness) stops(workflow string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.stopped[workflow])
}

// runs reports whether the workflows of all these clients have a stream.
func (w *witness) runs(clients []*traveller) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !slices.ContainsFunc(clients, func(c *traveller) bool { return w.running[c.workflow] == 0 })
}

// wantOneAtATime wants no workflow to have had two streams at once, except those that are named,
// which must have. It is to be called when all is over.
func (w *witness) wantOneAtATime(except ...string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, wrong := range w.wrong {
		if !slices.Contains(except, wrong.workflow) {
			w.t.Errorf("%s: %s", wrong.workflow, wrong.what)
		}
	}
	for _, workflow := range except {
		if !slices.ContainsFunc(w.wrong, func(m misplay) bool { return m.workflow == workflow }) {
			w.t.Errorf("%s: didn't have two streams at once", workflow)
		}
	}
}

// wantAnswersOf wants each action that these clients got to be answered once, but for those that
// were on their way when a connection ended: once or never. The agent asks those again.
func (w *witness) wantAnswersOf(clients []*traveller) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	known, once := 0, 0
	for _, c := range clients {
		for _, asked := range c.soFar().asked {
			for i, requestID := range asked.requestIDs {
				n := w.answers[requestID]
				if n > 1 || n == 0 && (asked.completed || i < len(asked.requestIDs)-1) {
					w.t.Errorf("%s: an action was answered %d times", c.workflow, n)
				}
				known++
				once += n
			}
		}
	}
	total := 0
	for _, n := range w.answers {
		total += n
	}
	if total != once {
		w.t.Errorf("the agent got %d answers, clients gave %d", total, once)
	}
	w.t.Logf("%d actions, %d answers", known, once)
}

// traveller is a client that runs one workflow to its end, wherever that leads.
type traveller struct {
	t        *testing.T
	workflow string
	gate     <-chan struct{} // closed when the last question may be answered
	abandon  func()
	done     chan struct{}
	err      error // of the run; read after done

	mu      sync.Mutex
	passage passage
	closed  time.Time // when the connection ended that the next action is waited for since
}

// passage is what a traveller has seen so far.
type passage struct {
	actions  int
	asked    []asked         // a connection each
	closes   []string        // code and reason
	waits    []time.Duration // from a connection's end to the next action
	refused  int             // attempts to connect that failed
	lost     []error         // those of them that broke without a close frame
	finished bool            // the agent said so
}

// asked are the questions that came on a connection.
type asked struct {
	requestIDs []string
	completed  bool // the connection ended because the workflow did
}

// travel starts a client. Without a gate it never answers the last question; without a bound of the
// wait before it connects again it has the default.
func travel(t *testing.T, url, workflow string, gate <-chan struct{}, maxBackoff time.Duration) *traveller {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	c := &traveller{t: t, workflow: workflow, gate: gate, abandon: cancel, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.err = client.Run(ctx, client.Config{
			URL:        url,
			Start:      &dap.StartWorkflowRequest{WorkflowID: workflow, Goal: "a goal"},
			MaxBackoff: maxBackoff,
			Handle:     c.handle,
			Observe:    c.observe,
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-c.done
	})
	return c
}

// handle takes a moment, so that drains find actions that are being answered.
func (c *traveller) handle(ctx context.Context, action *dap.Action) *dap.ActionResponse {
	var moment <-chan time.Time
	gate := c.gate
	if action.GetMkdir().GetDirectoryPath() != lastQuestion {
		moment, gate = time.After(20*time.Millisecond), nil
	}
	select {
	case <-moment:
	case <-gate:
	case <-ctx.Done():
		return nil
	}
	return &dap.ActionResponse{ResponseType: &dap.ActionResponse_PlainTextResponse{PlainTextResponse: &dap.PlainTextResponse{Response: "made"}}}
}

func (c *traveller) observe(event client.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := &c.passage
	switch e := event.(type) {
	case client.Connected:
		p.asked = append(p.asked, asked{})
	case client.Received:
		if !c.closed.IsZero() {
			p.waits = append(p.waits, time.Since(c.closed))
			c.closed = time.Time{}
		}
		p.actions++
		if checkpoint := e.Action.GetNewCheckpoint(); checkpoint != nil {
			p.finished = checkpoint.GetStatus() == scripted.StatusFinished
			return
		}
		connection := &p.asked[len(p.asked)-1]
		connection.requestIDs = append(connection.requestIDs, e.Action.GetRequestID())
	case client.Closed:
		p.closes = append(p.closes, strings.TrimSpace(fmt.Sprint(e.Code, " ", e.Reason)))
		p.asked[len(p.asked)-1].completed = e.Code == actors.CloseNormal
		if c.closed.IsZero() {
			c.closed = time.Now()
		}
	case client.Reconnecting:
		var closed *client.CloseError
		if !errors.As(e.Cause, &closed) {
			p.refused++
		} else if closed.Code == 1006 {
			p.lost = append(p.lost, e.Cause)
		}
	}
}

// soFar is what the client has seen so far.
func (c *traveller) soFar() passage {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.passage
}

func (c *traveller) waitFor(what string, seen func(*passage) bool) {
	c.t.Helper()
	eventually(c.t, c.workflow+" sees "+what, func() bool {
		p := c.soFar()
		return seen(&p)
	})
}

func (c *traveller) wantFinished() {
	c.t.Helper()
	wait(c.t, c.done, "the end of "+c.workflow)
	if p := c.soFar(); c.err != nil || !p.finished {
		c.t.Errorf("%s: finished: %v; %v; connections ended with %q", c.workflow, p.finished, c.err, p.closes)
	}
}

// wantCloses wants the connections to have ended in these ways, one way after the other, each once
// or more often.
func (c *traveller) wantCloses(ways ...string) {
	c.t.Helper()
	p := c.soFar()
	if !slices.Equal(slices.Compact(slices.Clone(p.closes)), ways) {
		c.t.Errorf("%s: connections ended with %q, want %q", c.workflow, p.closes, ways)
	}
	if len(p.lost) > 0 && !slices.Contains(ways, "1006") {
		c.t.Errorf("%s: connections were lost: %v", c.workflow, p.lost)
	}
}

// spread are the least, the middle and the greatest of some times.
func spread(times []time.Duration) string {
	if len(times) == 0 {
		return "never"
	}
	slices.Sort(times)
	round := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	return fmt.Sprintf("%v / %v / %v", round(times[0]), round(times[len(times)/2]), round(times[len(times)-1]))
}

// wantOpen wants the connection to last.
func (c *talk) wantOpen() {
	c.t.Helper()
	select {
	case err := <-c.end:
		c.t.Errorf("%s: ended with %v", c.workflow, err)
		c.end <- err
	default:
	}
}

// waitLogged waits for the log's first record that has this text in it.
func (p *process) waitLogged(text string) (record map[string]any) {
	p.t.Helper()
	for n := 0; ; n++ {
		line := p.line(n)
		if !strings.Contains(line, text) {
			continue
		}
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			p.t.Fatalf("%s: %v", line, err)
		}
		return record
	}
}
