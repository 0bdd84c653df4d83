package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/creack/pty"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/drainreport"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/operator/operatortest"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
	"github.com/lastcall-go/lastcall/transport/history"
)

// reportOf is the report of a drain that took 3.5s, as serve writes it.
func reportOf(t *testing.T, sessions []actors.SessionReport, services ...actors.ServiceReport) string {
	t.Helper()
	if sessions == nil {
		sessions = []actors.SessionReport{}
	}
	data, err := json.Marshal(actors.Report{
		Reason:   "server shutdown",
		Started:  time.Date(2026, 11, 21, 23, 0, 0, 0, time.UTC),
		Took:     actors.Seconds(3500 * time.Millisecond),
		Sessions: sessions,
		Services: services,
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func session(id string, outcome actors.Outcome, took time.Duration) actors.SessionReport {
	return actors.SessionReport{ID: id, Workflow: "of-" + id, Outcome: outcome, Took: actors.Seconds(took), Age: actors.Seconds(time.Hour)}
}

func service(name string, outcome actors.Outcome, took time.Duration) actors.ServiceReport {
	return actors.ServiceReport{Name: name, Outcome: outcome, Took: actors.Seconds(took)}
}

// shown is what the command makes of a report on its standard input.
func shown(t *testing.T, report string, args ...string) string {
	t.Helper()
	code, stdout, stderr := command(t, report, append([]string{"report", "-"}, args...)...)
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d, %q", code, stderr)
	}
	return stdout
}

// wantShown wants these lines one after the other, whatever the space between their words.
func wantShown(t *testing.T, text string, want ...string) {
	t.Helper()
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.Join(strings.Fields(line), " "))
	}
	if all := strings.Join(lines, "\n"); !strings.Contains(all+"\n", strings.Join(want, "\n")+"\n") {
		t.Errorf("no\n%s\nin\n%s", strings.Join(want, "\n"), text)
	}
}

func TestReportTellsHowADrainWent(t *testing.T) {
	text := shown(t, reportOf(t, []actors.SessionReport{
		session("a", actors.ClientGone, 0),
		session("b", actors.Drained, 4*time.Millisecond),
		session("c", actors.Drained, 120*time.Millisecond),
		session("d", actors.Drained, 2500*time.Millisecond),
		{ID: "e", Outcome: actors.Killed, Took: actors.Seconds(3 * time.Second), Age: actors.Seconds(90 * time.Second), WaitedFor: "agent"},
	}, service("pool", actors.Drained, 20*time.Millisecond), service("agent", actors.Killed, time.Second)))

	wantShown(t, text, "server shutdown at 2026-11-21T23:00:00Z: 5 sessions in 3.5s: 3 drained, 1 client_gone, 1 killed")
	wantShown(t, text,
		"OUTCOME COUNT SHARE P50 P95 MAX",
		"drained 3 60.0% 120ms 2.5s 2.5s",
		"client_gone 1 20.0% - - -",
		"killed 1 20.0% 3s 3s 3s")
	wantShown(t, text,
		"LONGEST TO STOP WORKFLOW OUTCOME STOP AGE WAITED FOR",
		"e - killed 3s 1m30s agent",
		"d of-d drained 2.5s 1h0m0s -",
		"c of-c drained 120ms 1h0m0s -",
		"b of-b drained 4ms 1h0m0s -",
		"")
	wantShown(t, text, "1 session without a stop time: not asked to stop, or gone within half a millisecond")
	wantShown(t, text, "SERVICE OUTCOME STOP", "pool drained 20ms", "agent killed 1s")
	wantShown(t, text, "had to be killed: 1 session", "e")
	wantShown(t, text, "had to be killed: 1 service", "agent")
}

func TestReportOfNobody(t *testing.T) {
	text := shown(t, reportOf(t, nil))
	if want := "server shutdown at 2026-11-21T23:00:00Z: 0 sessions in 3.5s\n"; text != want {
		t.Errorf("got %q, want %q alone", text, want)
	}
	if text := shown(t, reportOf(t, []actors.SessionReport{session("a", actors.Completed, 0)})); strings.Contains(text, "TIME TO STOP") {
		t.Errorf("stop times of a session that has none:\n%s", text)
	}
}

func TestPercentilesAreOfTheNearestRank(t *testing.T) {
	for _, test := range []struct{ n, p50, p95 int }{{1, 1, 1}, {2, 1, 2}, {3, 2, 3}, {20, 10, 19}, {21, 11, 20}, {100, 50, 95}} {
		var sessions []actors.SessionReport
		for _, i := range rand.New(rand.NewPCG(1, 1)).Perm(test.n) {
			sessions = append(sessions, session("s", actors.Drained, time.Duration(1+i)*time.Second))
		}
		o := summaryOf(t, reportOf(t, sessions)).Outcomes[0]
		want := [3]float64{float64(test.p50), float64(test.p95), float64(test.n)}
		if got := [3]float64{o.P50, o.P95, o.Max}; got != want {
			t.Errorf("of 1s to %ds: got %v, want %v", test.n, got, want)
		}
	}
}

func TestReportShowsAsManyOfTheSlowestAsAsked(t *testing.T) {
	var sessions []actors.SessionReport
	for i := range 25 {
		sessions = append(sessions, session(fmt.Sprint("s", i), actors.Drained, time.Duration(1+i)*time.Millisecond))
	}
	slices.Reverse(sessions)
	report := reportOf(t, sessions)
	for _, test := range []struct{ args, want int }{{-1, 10}, {0, 0}, {3, 3}, {100, 25}} {
		args := []string{fmt.Sprint("--slowest=", test.args)}
		if test.args < 0 {
			args = nil
		}
		text := shown(t, report, args...)
		if got := strings.Count(text, "of-s"); got != test.want {
			t.Errorf("%q: shows %d, want %d", args, got, test.want)
		}
		if test.want > 0 && !regexp.MustCompile(`(?m)^LONGEST.*\ns24 `).MatchString(text) {
			t.Errorf("%q: the slowest isn't first:\n%s", args, text)
		}
	}
}

// bars are the stop times' lines: bound, length of the bar, sessions.
func bars(text string) (list []string) {
	for _, line := range regexp.MustCompile(`(?m)^up to +(\S+)  (█*) (\d+)$`).FindAllStringSubmatch(text, -1) {
		list = append(list, fmt.Sprint(line[1], " ", utf8.RuneCountInString(line[2]), " ", line[3]))
	}
	return list
}

func TestStopTimesAreBars(t *testing.T) {
	took := func(milliseconds ...int) (sessions []actors.SessionReport) {
		for _, ms := range milliseconds {
			sessions = append(sessions, session("s", actors.Drained, time.Duration(ms)*time.Millisecond))
		}
		return sessions
	}
	const full = 80 - len("up to 100ms   1") - 1
	for _, test := range []struct {
		name     string
		sessions []actors.SessionReport
		want     []string
	}{
		{"one", took(77), []string{fmt.Sprint("100ms ", full, " 1")}},
		{"bounds belong to their bucket", took(1, 2, 2), []string{"1ms 33 1", "2ms 66 2"}},
		{"empty buckets between", took(4, 21), []string{"5ms 65 1", "10ms 0 0", "20ms 0 0", "50ms 65 1"}},
		{"longer than any drain", took(3_600_000, 10_000_000), []string{"1h0m0s 61 1", "2h46m40s 61 1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := shown(t, reportOf(t, test.sessions))
			if got := bars(text); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q in\n%s", got, test.want, text)
			}
		})
	}
}

// With ten thousand the text is a page, no line is wider than the terminal, and one session is still seen.
func TestReportOfTenThousandIsAPage(t *testing.T) {
	var sessions []actors.SessionReport
	for i := range 10_000 {
		sessions = append(sessions, session(fmt.Sprint("s", i), actors.Killed, time.Duration(101+i%99)*time.Millisecond))
	}
	sessions[77].Took = actors.Seconds(20 * time.Second)
	text := shown(t, reportOf(t, sessions))
	if lines := strings.Count(text, "\n"); lines > 70 {
		t.Errorf("%d lines", lines)
	}
	for line := range strings.Lines(text) {
		if utf8.RuneCountInString(line) > 80 {
			t.Errorf("%d columns: %s", utf8.RuneCountInString(line), line)
		}
	}
	got := bars(text)
	if len(got) != 7 || !strings.HasSuffix(got[0], " 9999") || got[6] != "20s 1 1" {
		t.Errorf("bars %q", got)
	}
	wantShown(t, text, "had to be killed: 10000 sessions", "s0")
	wantShown(t, text, "s19", "and 9980 more, which --json names")
}

func TestBarsAreAsWideAsTheTerminal(t *testing.T) {
	report := reportOf(t, []actors.SessionReport{session("a", actors.Drained, time.Second)})
	for _, test := range []struct{ columns, want int }{{120, 119}, {40, 39}, {5, 22}, {0, 79}} { // the last one stays free
		master, terminal, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		if err := pty.Setsize(terminal, &pty.Winsize{Rows: 50, Cols: uint16(test.columns)}); err != nil {
			t.Fatal(err)
		}
		err = (&reportCmd{File: "-"}).Run(streams{in: strings.NewReader(report), out: terminal})
		if err := errors.Join(err, terminal.Close()); err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(master) // ends with an error, since no process holds the other end
		_ = master.Close()
		bar := regexp.MustCompile(`(?m)^up to [^\r]*`).FindString(string(text))
		if got := utf8.RuneCountInString(bar); got != test.want {
			t.Errorf("%d columns: a line of %d, want %d: %s", test.columns, got, test.want, bar)
		}
	}
}

// Clients choose what workflows are called: nothing of it is an order to a terminal, or a line of its own.
func TestReportIsSafeForATerminal(t *testing.T) {
	const evil = "\x1b[2J\r\nserver shutdown: \u009b31m\u202ekilled\x7f\tnobody\u2028\U000e0041"
	report := reportOf(t, []actors.SessionReport{
		{ID: evil, Workflow: evil, Outcome: evil, Took: actors.Seconds(time.Second)},
		{ID: evil, Outcome: actors.Killed, Took: actors.Seconds(time.Second)},
	}, actors.ServiceReport{Name: evil, Outcome: evil}, actors.ServiceReport{Name: evil, Outcome: actors.Killed})
	reason, err := json.Marshal(evil)
	if err != nil {
		t.Fatal(err)
	}
	report = strings.Replace(report, `"server shutdown"`, string(reason), 1)

	for _, args := range [][]string{nil, {"--json"}} {
		text := shown(t, report, args...)
		for _, r := range strings.ReplaceAll(text, "\n", "") {
			if !unicode.IsPrint(r) {
				t.Errorf("%q: %U gets through", args, r)
			}
		}
		if strings.Contains(text, "\nserver") {
			t.Errorf("%q: a line of its own:\n%s", args, text)
		}
	}
	if got := summaryOf(t, report); got.Reason != evil || got.Slowest[0].Workflow != evil {
		t.Errorf("as JSON it is not the same any more: %q", got.Reason)
	}
	wantShown(t, shown(t, report), "other 1 50.0% 1s 1s 1s")
}

// summary is --json as a script reads it.
type summary struct {
	ID       string    `json:"id"`
	Part     bool      `json:"part"`
	Reason   string    `json:"reason"`
	Started  time.Time `json:"started"`
	Took     float64   `json:"took_seconds"`
	Sessions int       `json:"sessions"`
	Outcomes []struct {
		Outcome string  `json:"outcome"`
		Count   int     `json:"count"`
		Share   float64 `json:"share"`
		P50     float64 `json:"p50_seconds"`
		P95     float64 `json:"p95_seconds"`
		Max     float64 `json:"max_seconds"`
	} `json:"outcomes"`
	Slowest   []actors.SessionReport `json:"slowest"`
	StopTimes []struct {
		UpTo  float64 `json:"up_to_seconds"`
		Count int     `json:"count"`
	} `json:"stop_times"`
	Untold   int                    `json:"untold"`
	Services []actors.ServiceReport `json:"services"`
	Killed   struct {
		Sessions []string `json:"sessions"`
		Services []string `json:"services"`
	} `json:"killed"`
}

func summaryOf(t *testing.T, report string, args ...string) (s summary) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(shown(t, report, append(args, "--json")...)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestReportAsJSONSaysTheSame(t *testing.T) {
	var sessions []actors.SessionReport
	for i := range 50 {
		sessions = append(sessions, session(fmt.Sprint("k", i), actors.Killed, 2*time.Second))
	}
	sessions = append(sessions, session("gone", actors.ClientGone, 0), session("slow", actors.Drained, 4500*time.Millisecond))
	s := summaryOf(t, reportOf(t, sessions, service("agent", actors.Killed, time.Second)), "--slowest", "2")

	if s.Sessions != 52 || s.Took != 3.5 || s.Untold != 1 || len(s.Outcomes) != 3 || s.Started.IsZero() {
		t.Errorf("%+v", s)
	}
	if o := s.Outcomes[2]; o.Outcome != "killed" || o.Count != 50 || math.Abs(o.Share-50.0/52) > 1e-9 || o.P95 != 2 {
		t.Errorf("killed: %+v", o)
	}
	if len(s.Slowest) != 2 || s.Slowest[0] != session("slow", actors.Drained, 4500*time.Millisecond) {
		t.Errorf("slowest %+v", s.Slowest)
	}
	if n := len(s.StopTimes); n != 2 || s.StopTimes[0].UpTo != 2 || s.StopTimes[0].Count != 50 || s.StopTimes[1].UpTo != 5 {
		t.Errorf("stop times %+v", s.StopTimes)
	}
	if len(s.Killed.Sessions) != 50 || !slices.Equal(s.Killed.Services, []string{"agent"}) || len(s.Services) != 1 {
		t.Errorf("killed %+v of %+v", s.Killed, s.Services)
	}
	empty := shown(t, reportOf(t, nil), "--json")
	if strings.Contains(empty, "null") {
		t.Errorf("a list that is null:\n%s", empty)
	}
}

// Whoever had to be killed: the report was read.
func TestReportOfAKillExits0(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.json")
	report := reportOf(t, []actors.SessionReport{session("a", actors.Killed, time.Second)})
	if err := os.WriteFile(path, []byte(report), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := command(t, "", "report", path)
	if code != 0 || stderr != "" || stdout != shown(t, report) {
		t.Errorf("exit code %d, %q, %s; want what comes of it on stdin", code, stderr, stdout)
	}
}

func TestReportOfARealDrain(t *testing.T) {
	p := startServe(t, "agent daemon with sessions")
	p.session("w1")
	p.drain(syscall.SIGTERM, 0)
	data, err := json.Marshal(p.report())
	if err != nil {
		t.Fatal(err)
	}
	wantShown(t, shown(t, string(data)), "OUTCOME COUNT SHARE P50 P95 MAX")
	if s := summaryOf(t, string(data)); s.Sessions != 1 || s.Outcomes[0].Outcome != "drained" || s.Slowest[0].Workflow != "w1" || len(s.Services) == 0 {
		t.Errorf("%+v", s)
	}
}

func TestWhatIsNoReportIsRefusedInOneLine(t *testing.T) {
	whole := reportOf(t, []actors.SessionReport{session("a", actors.Drained, time.Second)})
	for _, test := range []struct{ name, text, why string }{
		{"empty", "", "unexpected end"},
		{"no JSON", "drained\n12 sessions", "invalid character"},
		{"half of one", whole[:len(whole)/2], "unexpected end"},
		{"two", whole + whole, "after top-level value"},
		{"a list", "[1]", "cannot unmarshal array"},
		{"another object", `{"state": "serving"}`, `no "started"`},
		{"no sessions", `{"started": "2026-11-21T23:00:00Z", "sessions": null}`, `no "sessions"`},
		{"a time before the signal", strings.Replace(whole, `"stop_seconds":1`, `"stop_seconds":-1`, 1), `"a" is out of range`},
		{"a time past all", strings.Replace(whole, `"age_seconds":3600`, `"age_seconds":-1e300`, 1), "out of range"},
		{"a drain before it began", strings.Replace(whole, `"took_seconds":3.5`, `"took_seconds":-3.5`, 1), `"took_seconds" is out of range`},
		{"a long name", reportOf(t, []actors.SessionReport{session(strings.Repeat("\x1b", 10_000), actors.Drained, -time.Second)}), "a time of session"},
		{"a service's time", reportOf(t, nil, service("agent", actors.Drained, -time.Second)), `"agent" is out of range`},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, stdout, stderr := command(t, test.text, "report", "-")
			line, rest, _ := strings.Cut(stderr, "\n")
			if code != 1 || stdout != "" || rest != "" || len(line) > 300 || !strings.Contains(line, "is no drain report, which 'lastcall serve --report FILE' writes") || !strings.Contains(line, test.why) {
				t.Errorf("exit code %d, %q, %q; want 1 and one line with %q", code, stdout, stderr, test.why)
			}
		})
	}
	if code, _, stderr := command(t, "", "report", filepath.Join(t.TempDir(), "missing")); code != 1 || !strings.Contains(stderr, "no such file") {
		t.Errorf("a missing file: exit code %d, %q", code, stderr)
	}
}

// endless is an input that never ends, and counts what is read of it.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	e.read += len(p)
	return len(p), nil
}

func TestReportReadsNoMoreThanItsBound(t *testing.T) {
	var input endless
	_, err := drainreport.Decode("input", &input, 1<<20)
	if err == nil || err.Error() != "input is larger than 1 MiB" || input.read > 1<<20+1 {
		t.Errorf("read %d bytes, %v", input.read, err)
	}
}

func TestReportUsageErrors(t *testing.T) {
	for _, args := range [][]string{{"-", "--drain", "x"}, {"-", "--slowest=-1"}, {"-", "--slowest", "many"}, {"-", "bogus"}} {
		if code, stdout, stderr := command(t, "", append([]string{"report"}, args...)...); code != 2 || stdout != "" || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: exit code %d, %q, %q", args, code, stdout, stderr)
		}
	}
}

// A running gateway keeps its drains: they are listed, and one is read by its ID.
func TestReportOfARunningGateway(t *testing.T) {
	supervisor, err := actors.NewSupervisor(actors.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer supervisor.Close()
	past := history.New(supervisor.Snapshot)
	defer supervisor.Listen(past.Observe)()
	handler := adminapi.New(adminapi.Options{Supervisor: supervisor, History: past})
	defer handler.Close()
	server := httptest.NewServer(handler)
	defer server.Close()
	ask := func(args ...string) (code int, stdout, stderr string) {
		return command(t, "", append([]string{"report", "--admin", server.URL}, args...)...)
	}
	if code, stdout, _ := ask(); code != 0 || stdout != "no drain is over yet\n" {
		t.Errorf("exit code %d, %s", code, stdout)
	}
	report, err := supervisor.Drain(t.Context(), actors.Drain{Standby: true, Reason: "new\x1b version"})
	if err != nil {
		t.Fatal(err)
	}
	list := func() string {
		_, stdout, _ := ask()
		return stdout
	}
	eventually(t, list, operatortest.Holds(report.ID, "everything", `new\x1b version`))
	if code, stdout, stderr := ask("--drain", report.ID); code != 0 || !strings.HasPrefix(stdout, `new\x1b version at `) {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	if code, stdout, _ := ask("--json"); code != 0 || !strings.Contains(stdout, `"id":"`+report.ID+`"`) {
		t.Errorf("exit code %d, %s", code, stdout)
	}
	if code, _, stderr := ask("--drain", "unheardof"); code != 1 || !strings.Contains(stderr, "no such drain: the last 20 that are over are kept") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}
