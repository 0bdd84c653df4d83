package measure

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/cmd/lastcall/internal/terminal"
	"github.com/lastcall-go/lastcall/transport/httpserver"
	"github.com/lastcall-go/lastcall/transport/loadtest"
)

// Result is what bench prints. Times are seconds, sizes bytes.
type Result struct {
	URL        string       `json:"url"`
	Gateway    string       `json:"gateway"` // own or given
	Shares     string       `json:"shares"`  // what shared the clients' machine
	CPUs       int          `json:"cpus"`    // of that machine
	Sessions   *openFigures `json:"sessions"`
	Memory     Memory       `json:"memory"`
	Load       *loadFigures `json:"load,omitempty"` // absent: there was none
	EndedEarly []Closing    `json:"ended_early"`    // before the drain
	Drain      Drain        `json:"drain"`
}

type openFigures struct {
	Asked       int            `json:"asked"`
	Open        int            `json:"open"`
	Silent      int            `json:"silent"` // of these, whose agent said nothing in time
	Failed      map[string]int `json:"failed"` // by why
	Concurrency int            `json:"concurrency"`
	Seconds     float64        `json:"seconds"`
	PerSecond   float64        `json:"per_second"`
	Connect     quantiles      `json:"connect_seconds"`
	FirstAction quantiles      `json:"first_action_seconds"`
}

// Memory is the gateway's resident memory.
type Memory struct {
	NotMeasured string `json:"not_measured,omitempty"` // why; nothing else is set then
	Empty       int64  `json:"empty_bytes,omitempty"`
	Idle        int64  `json:"idle_bytes,omitempty"`
	PerSession  int64  `json:"per_session_bytes,omitempty"`
	AfterLoad   int64  `json:"after_load_bytes,omitempty"`
}

type loadFigures struct {
	Sessions         int            `json:"sessions"`
	Seconds          float64        `json:"seconds"`
	RoundTrips       int64          `json:"round_trips"`
	RoundTripsPerSec float64        `json:"round_trips_per_second"`
	MessagesPerSec   float64        `json:"messages_per_second"` // both ways
	RoundTrip        quantiles      `json:"round_trip_seconds"`
	Unanswered       int            `json:"unanswered"` // round trips under way at the end
	Reopened         int            `json:"reopened"`   // workflows that were completed meanwhile
	FailedToReopen   map[string]int `json:"failed_to_reopen"`
}

type Drain struct {
	NotMeasured    string         `json:"not_measured,omitempty"` // why
	Seconds        float64        `json:"seconds,omitempty"`      // until the last client was closed
	Closed         []Closing      `json:"closed,omitempty"`
	GatewaySeconds float64        `json:"gateway_seconds,omitempty"` // as the gateway reports it
	Totals         map[string]int `json:"totals,omitempty"`          // by outcome, likewise
}

// tell keeps what the gateway reports of its drain.
func (d *Drain) tell(took actors.Seconds, totals map[actors.Outcome]int) {
	d.GatewaySeconds = time.Duration(took).Seconds()
	d.Totals = make(map[string]int)
	for outcome, n := range totals {
		d.Totals[string(outcome)] = n
	}
}

// Closing is how many clients were closed this way. 1006 is a connection that was lost.
type Closing struct {
	Code    int    `json:"code"`
	Reason  string `json:"reason"`
	Clients int    `json:"clients"`
}

// closingsOf lists ends, the most frequent first.
func closingsOf(ends map[loadtest.End]int) []Closing {
	list := []Closing{}
	for end, n := range ends {
		list = append(list, Closing{end.Code, end.Reason, n})
	}
	slices.SortFunc(list, func(x, y Closing) int {
		return cmp.Or(cmp.Compare(y.Clients, x.Clients), cmp.Compare(x.Code, y.Code), cmp.Compare(x.Reason, y.Reason))
	})
	return list
}

type quantiles struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

func secondsOf(q loadtest.Quantiles) quantiles {
	return quantiles{q.P50.Seconds(), q.P90.Seconds(), q.P99.Seconds(), q.Max.Seconds()}
}

// shares returns what ran on the clients' machine, as far as that is known.
func (c *Flags) shares() string {
	if c.URL == "" {
		return "gateway and agent"
	}
	if u, err := url.Parse(c.URL); err == nil && httpserver.IsLocal(u.Hostname()) {
		return "gateway"
	}
	return "none known"
}

// Verdict is an error where the numbers are those of a failure.
func (r *Result) Verdict() error {
	if s := r.Sessions; s != nil && s.Open*2 <= s.Asked {
		return fmt.Errorf("%d of %d sessions failed: %s", s.Asked-s.Open, s.Asked, terminal.OneLine(countsText(s.Failed)))
	}
	return nil
}

func (r *Result) Print(w io.Writer, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name string, format string, a ...any) { fmt.Fprintf(table, name+"\t"+format+"\n", a...) }
	row("gateway", "%s%s", map[string]string{"own": "started for this, ", "given": ""}[r.Gateway], terminal.OneLine(r.URL))
	r.Sessions.rows(row)
	r.Memory.rows(row, r.Sessions.Open)
	if r.Load != nil {
		r.Load.rows(row)
	}
	closingRows(row, "ended early", r.EndedEarly)
	r.Drain.rows(row)
	row("machine", "%s", r.machine())
	return table.Flush()
}

type rowFunc func(name string, format string, a ...any)

func (s *openFigures) rows(row rowFunc) {
	row("sessions", "%d of %d open in %s: %s a second, %d at a time", s.Open, s.Asked, timeText(s.Seconds), rateText(s.PerSecond), s.Concurrency)
	for _, why := range byCount(s.Failed) {
		row("", "%d failed: %s", s.Failed[why], terminal.OneLine(why))
	}
	if s.Silent > 0 {
		row("", "%d whose agent sent nothing", s.Silent)
	}
	row("connect", "%s", s.Connect)
	row("first action", "%s", s.FirstAction)
}

func (m Memory) rows(row rowFunc, sessions int) {
	if m.NotMeasured != "" {
		row("memory", "not measured: %s", m.NotMeasured)
		return
	}
	each := "too few to say what one takes"
	if m.PerSession > 0 {
		each = fmt.Sprintf("%.1f KiB each", float64(m.PerSession)/(1<<10))
	}
	row("memory", "%s without sessions, %s with %d idle ones: %s", mebibytes(m.Empty), mebibytes(m.Idle), sessions, each)
	if m.AfterLoad > 0 {
		row("", "%s right after the load", mebibytes(m.AfterLoad))
	}
}

func (l *loadFigures) rows(row rowFunc) {
	row("load", "%d sessions for %s: %s round trips a second, %s messages a second", l.Sessions, timeText(l.Seconds), rateText(l.RoundTripsPerSec), rateText(l.MessagesPerSec))
	row("round trip", "%s", l.RoundTrip)
	if l.RoundTrips == 0 {
		row("", "none: the agent has asked nothing, or not gone on")
	}
	if l.Reopened > 0 {
		row("", "%d workflows were completed, and others begun", l.Reopened)
	}
	for _, why := range byCount(l.FailedToReopen) {
		row("", "%d could not be begun: %s", l.FailedToReopen[why], terminal.OneLine(why))
	}
}

func (d *Drain) rows(row rowFunc) {
	if d.NotMeasured != "" {
		row("drain", "not measured: %s", d.NotMeasured)
	} else {
		row("drain", "the last client was closed after %s; the gateway took %s: %s", timeText(d.Seconds), timeText(d.GatewaySeconds), countsText(d.Totals))
	}
	closingRows(row, "closed", d.Closed)
}

func closingRows(row rowFunc, name string, list []Closing) {
	for _, c := range list {
		row(name, "%d with %d%s", c.Clients, c.Code, terminal.Suffix(" ", terminal.OneLine(c.Reason)))
		name = ""
	}
}

func (r *Result) machine() string {
	cpus := fmt.Sprintf("%d CPUs", r.CPUs)
	if r.Shares == "none known" {
		return "the clients had " + cpus
	}
	return fmt.Sprintf("%s shared the clients' %s: each had less of them than alone", r.Shares, cpus)
}

func (q quantiles) String() string {
	if q.Max == 0 {
		return "-"
	}
	return fmt.Sprintf("p50 %s\tp90 %s\tp99 %s\tmax %s", timeText(q.P50), timeText(q.P90), timeText(q.P99), timeText(q.Max))
}

// timeText shows seconds to three digits or so.
func timeText(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= 100*time.Millisecond:
		return d.Round(time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}

func rateText(perSecond float64) string {
	if perSecond < 100 {
		return fmt.Sprintf("%.1f", perSecond)
	}
	return fmt.Sprintf("%.0f", perSecond)
}

func mebibytes(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// countsText is "9 drained, 1 killed", the most frequent first.
func countsText(m map[string]int) string {
	var parts []string
	for _, name := range byCount(m) {
		parts = append(parts, fmt.Sprintf("%d %s", m[name], name))
	}
	return strings.Join(parts, ", ")
}

func byCount(m map[string]int) []string {
	return slices.SortedFunc(maps.Keys(m), func(x, y string) int {
		return cmp.Or(cmp.Compare(m[y], m[x]), cmp.Compare(x, y))
	})
}
