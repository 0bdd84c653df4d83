package tests

import (
	"fmt"
	"testing"
	"time"
)

// crash kills an instance. Its workflows are free once their leases have run out, and not before.
func crash(t *testing.T, binary string) {
	t.Parallel()
	const (
		each  = 20 // workflows of each instance
		ttl   = 2 * time.Second
		slack = 3 * time.Second
	)
	agent := newWitness(t, 50*time.Millisecond, journey(10))
	redis := startRedis(t)
	victim := startInstance(t, binary, agent, redis, "--lease-ttl", ttl.String())
	survivor := startInstance(t, binary, agent, redis, "--lease-ttl", ttl.String())
	b := newBalancer(t, victim)
	gate := make(chan struct{})
	group := func(name string) (group []*traveller) {
		for i := range each {
			group = append(group, travel(t, b.url(), fmt.Sprintf("%s-%d", name, i), gate, 250*time.Millisecond))
		}
		for _, c := range group {
			c.waitFor("an answered action", func(p *passage) bool { return p.actions > 1 })
		}
		return group
	}
	orphans := group("orphan")
	b.use(t, survivor)
	others := group("other")
	left := ttl
	eventually(t, "a lease is renewed", func() bool { // so that the longest wait is shown
		before := left
		left = redis.left(orphans[0].workflow)
		return left > before
	})

	killed := time.Now()
	if err := victim.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	victim.exit(patience)
	var free []time.Time // when the leases run out, or a moment before
	for _, c := range orphans {
		asked := time.Now()
		left := redis.left(c.workflow)
		if left <= 0 {
			t.Errorf("%s: its lease is gone with the instance", c.workflow)
		}
		free = append(free, asked.Add(left))
	}
	var sinceKill, sinceFree []time.Duration
	for i, c := range orphans {
		c.waitFor("an action after the crash", func(p *passage) bool { return len(p.waits) > 0 })
		resumed := agent.starts(c.workflow)[1]
		sinceKill = append(sinceKill, resumed.Sub(killed))
		sinceFree = append(sinceFree, resumed.Sub(free[i]))
		if early := free[i].Sub(resumed); early > 2*time.Millisecond { // the store rounds
			t.Errorf("%s was resumed %v before its lease ran out", c.workflow, early)
		}
		if took := resumed.Sub(killed); took > ttl+slack {
			t.Errorf("%s was resumed %v after the crash, with a lease of %v", c.workflow, took, ttl)
		}
	}
	t.Logf("resumed %s after the crash, %s after the lease ran out", spread(sinceKill), spread(sinceFree))

	close(gate)
	for _, c := range others {
		c.wantFinished()
		c.wantCloses("1000") // they noticed nothing
	}
	for _, c := range orphans {
		c.wantFinished()
		c.wantCloses("1006", "1013 workflow is running elsewhere", "1000")
		if n := len(agent.starts(c.workflow)); n != 2 {
			t.Errorf("%s: %d streams, want one on each instance", c.workflow, n)
		}
	}
	survivor.drain(sigterm, 0)
	if n := redis.leases(); n != 0 {
		t.Errorf("%d leases are left", n)
	}
	agent.wantOneAtATime()
	agent.wantAnswersOf(append(orphans, others...))
}
