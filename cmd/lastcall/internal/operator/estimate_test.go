package operator

import (
	"strings"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
)

func TestAnEstimateAsText(t *testing.T) {
	const ms, s = actors.Seconds(time.Millisecond), actors.Seconds(time.Second)
	for name, test := range map[string]struct {
		estimate adminapi.Estimate
		all      bool
		want     []string
	}{
		"everything": {
			adminapi.Estimate{
				Sessions: 1240, Batches: 13, Stops: 5120, Unknown: 1, Cut: 12,
				Closes: 5 * s, LastAsk: 17 * s, GraceEnd: 20 * s, Kill: 34 * s, Deadline: 35 * s,
				StopP50: 412 * ms, StopP99: 3120 * ms, TookP50: 23 * s, TookP99: 24500 * ms, InTime: true,
			}, true,
			[]string{
				"A drain of 1240 sessions that began now (nothing is drained):",
				"        0s  not ready any more; new sessions are still admitted",
				"        5s  no new sessions; the first of 13 batches is asked to stop",
				"       17s  the last batch is asked",
				"       20s  workflows that still run are stopped",
				"       34s  sessions that are left are killed",
				"       35s  the deadline of all else",
				"A stop takes 412ms (half of the sessions) to 3.1s (99 of 100), by 5120 stops so far.",
				"1 of the sessions are of a kind and an agent without stops so far: all stops together stand for theirs.",
				"The drain takes 23s (1 of 2 times) to 24.5s (99 of 100); about 12 sessions will run into the stop timeout or the deadline, and be cut.",
				"The deadline of 35s suffices: 9.5s are left.",
				"The platform must wait longer than 35s before it kills the process; in Kubernetes, terminationGracePeriodSeconds: 40.",
			},
		},
		"too late": {
			adminapi.Estimate{Sessions: 2, Batches: 1, Stops: 1, Kill: 4 * s, Deadline: 4 * s, StopP50: s, StopP99: s, TookP50: 4 * s, TookP99: 4 * s, Cut: 2}, false,
			[]string{
				"A drain of 2 sessions that began now (nothing is drained):",
				"        0s  the sessions are asked to stop",
				"        4s  sessions that are left are killed",
				"A stop takes 1s (half of the sessions) to 1s (99 of 100), by 1 stop so far.",
				"The drain takes 4s (1 of 2 times) to 4s (99 of 100); about 2 sessions will run into the stop timeout or the deadline, and be cut.",
				"The deadline of 4s is too short: sessions are likely to be killed. Use a longer --deadline, larger or more frequent batches, or a shorter grace.",
			},
		},
		"nothing is known": {
			adminapi.Estimate{Sessions: 1, Batches: 1, Kill: 25 * s, Deadline: 25 * s}, false,
			[]string{
				"A drain of 1 session that began now (nothing is drained):",
				"        0s  the sessions are asked to stop",
				"       25s  sessions that are left are killed",
				"How long stops take is not known yet: no session has been asked to stop.",
			},
		},
		"no session": {
			adminapi.Estimate{Kill: 25 * s, Deadline: 25 * s, InTime: true}, false,
			[]string{
				"A drain of 0 sessions that began now (nothing is drained):",
				"        0s  the sessions are asked to stop",
				"       25s  sessions that are left are killed",
				"There is no session to wait for.",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := EstimateText(&test.estimate, test.all); got != strings.Join(test.want, "\n")+"\n" {
				t.Errorf("%s", got)
			}
		})
	}
}
