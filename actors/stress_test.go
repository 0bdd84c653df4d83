package actors_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

var (
	stressFor  = flag.Duration("stress", time.Second, "play random worlds for this long. 0: one")
	stressSeed = flag.Int("seed", 0, "the seed of the first world, the next has the next. 0: any")
)

// Worlds one after the other, each from its seed, for as long as there is time:
//
//	go test ./actors -run TestStress -v -stress 1h
//	go test ./actors -run TestStress -v -stress 0 -seed 123 -count 20
//
// plays any for an hour, or again and again the one that failed: its schedule is the same, but not how its
// goroutines take turns. Where the process has died of a panic, the trace names the synctest bubble of the
// goroutine: bubble 1 is the first world of the process, whose seed is printed at the start.
func TestStress(t *testing.T) {
	first := *stressSeed
	if first == 0 {
		first = 1 + rand.IntN(1e9)
	}
	t.Logf("the seed is %d", first)
	began, worlds := time.Now(), 0
	for ; worlds == 0 || time.Since(began) < *stressFor; worlds++ {
		playSeed(t, first+worlds)
		if t.Failed() {
			return
		}
	}
	t.Logf("%d worlds", worlds)
}

func playSeed(t *testing.T, seed int) {
	over := false
	hangs := time.AfterFunc(time.Minute, func() { panic(fmt.Sprintf("the world with -stress 0 -seed %d does not end", seed)) })
	defer func() {
		hangs.Stop()
		if !over {
			t.Logf("it was the world with -stress 0 -seed %d", seed)
		}
	}()
	if wrong := play(t, drawScenario.Example(seed)); len(wrong) > 0 {
		t.Errorf("the world with -stress 0 -seed %d:\n%s", seed, strings.Join(wrong, "\n"))
	}
	over = true
}
