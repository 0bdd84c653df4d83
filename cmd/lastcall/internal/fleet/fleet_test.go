package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lastcall-go/lastcall/actors"
	adminapi "github.com/lastcall-go/lastcall/transport/admin"
	"github.com/lastcall-go/lastcall/transport/admin/page/pagetest"
)

// instance is a supervisor with the admin API.
type instance struct {
	*actors.Supervisor
	t      *testing.T
	url    string
	notYet error // why it is not ready
}

func start(t *testing.T) *instance {
	t.Helper()
	supervisor, err := actors.NewSupervisor(actors.Options{})
	if err != nil {
		t.Fatal(err)
	}
	i := &instance{Supervisor: supervisor, t: t}
	handler := adminapi.New(adminapi.Options{Supervisor: supervisor, Ready: func() error { return i.notYet }})
	server := httptest.NewServer(handler)
	i.url = server.URL
	t.Cleanup(func() {
		handler.Close()
		server.Close()
		supervisor.Close()
	})
	return i
}

// session opens a session, which ends when it is asked to, or only when it is killed.
func (i *instance) session(workflow string, hangs bool) {
	i.t.Helper()
	ticket, err := i.Admit(i.t.Context())
	if err != nil {
		i.t.Fatal(err)
	}
	serving, cut := make(chan struct{}), make(chan struct{})
	go func() {
		_ = ticket.Run(actors.Connection{Kind: "terminal", Workflow: workflow, Cut: func() { close(cut) }}, func(ctx context.Context) error {
			close(serving)
			<-ctx.Done()
			if hangs {
				<-cut
			}
			return nil
		})
	}()
	<-serving
}

func fleetOf(t *testing.T, urls ...string) Fleet {
	t.Helper()
	f, err := Open(t.Context(), urls, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// drainAll drains a fleet, and returns what was shown.
func drainAll(f Fleet, r Rolling) (string, error) {
	var out bytes.Buffer
	r.Fleet, r.Out = f, &out
	if r.ReadyTimeout == 0 {
		r.ReadyTimeout = 10 * time.Second
	}
	err := r.Run(context.Background())
	return out.String(), err
}

func states(all ...*instance) (states []actors.State) {
	for _, i := range all {
		view, _ := i.Overview(context.Background())
		states = append(states, view.State)
	}
	return states
}

func TestANameWithSeveralAddressesIsSeveralInstances(t *testing.T) {
	addresses := map[string][]string{"gateway.example": {"192.0.2.2", "192.0.2.1", "2001:db8::1"}, "one.example": {"192.0.2.9"}}
	lookUp := func(_ context.Context, _, host string) (all []netip.Addr, err error) {
		for _, a := range addresses[host] {
			all = append(all, netip.MustParseAddr(a))
		}
		if all == nil {
			err = errors.New("no such host")
		}
		return all, err
	}
	for name, test := range map[string]struct {
		admin []string
		want  []string // nil: an error
	}{
		"several":          {[]string{"gateway.example:8081"}, []string{"192.0.2.1:8081", "192.0.2.2:8081", "[2001:db8::1]:8081"}},
		"one":              {[]string{"one.example:8081"}, []string{"one.example:8081"}},
		"addresses":        {[]string{"192.0.2.7:8081", "192.0.2.8:8081"}, []string{"192.0.2.7:8081", "192.0.2.8:8081"}},
		"this machine":     {[]string{"localhost:8081"}, []string{"localhost:8081"}},
		"a certificate":    {[]string{"https://gateway.example"}, []string{"https://gateway.example"}},
		"without a port":   {[]string{"http://gateway.example"}, []string{"192.0.2.1", "192.0.2.2", "2001:db8::1"}},
		"unheard of":       {[]string{"nowhere.example:8081"}, nil},
		"twice":            {[]string{"192.0.2.7:8081", "192.0.2.7:8081"}, nil},
		"by name and else": {[]string{"gateway.example:8081", "192.0.2.1:8081"}, nil},
		"no address":       {[]string{"8081"}, nil},
	} {
		f, err := open(t.Context(), test.admin, "", lookUp)
		var names []string
		for _, i := range f {
			names = append(names, i.Name)
		}
		if (err != nil) != (test.want == nil) || err == nil && !slices.Equal(names, test.want) {
			t.Errorf("%s: %q, %v; want %q", name, names, err, test.want)
		}
	}
}

func TestAnInstanceThatDoesNotAnswerHidesNoOther(t *testing.T) {
	silent := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer silent.Close()
	up := start(t)
	up.session("w\x1b[2J1", false)
	f := fleetOf(t, up.url, silent.URL, "127.0.0.1:1")
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	all := f.Look(ctx, 5)
	now := time.Now()
	lines := strings.Join(Lines(all, now), "\n")
	for _, want := range []string{"3 instances, 1 serving: 1 session", up.url + "  1 session: 1 serving · serving", "does not answer", "connection refused"} {
		if !strings.Contains(lines, want) {
			t.Errorf("no %q in\n%s", want, lines)
		}
	}
	screen := Screen(all, now, 100, 24)
	if strings.ContainsRune(screen, '\x1b') || !strings.Contains(screen, "sessions of "+up.url) {
		t.Errorf("%q", screen)
	}
	if short := strings.Split(Screen(all, now, 20, 4), "\n"); len(short) > 4 || short[len(short)-1] != "…" {
		t.Errorf("%q", short)
	}
}

func TestInstancesAreDrainedOneAfterTheOther(t *testing.T) {
	a, b, c := start(t), start(t), start(t)
	for _, i := range []*instance{a, b, c} {
		i.session("w1", false)
	}
	out, err := drainAll(fleetOf(t, a.url, b.url, c.url), Rolling{Resume: true})
	if err != nil || !slices.Equal(states(a, b, c), []actors.State{actors.Serving, actors.Serving, actors.Serving}) {
		t.Errorf("%v; %v\n%s", err, states(a, b, c), out)
	}
	at := 0
	for _, step := range []string{
		"1/3 " + a.url + " drains\n", "drained 1 session in ", "1/3 " + a.url + " ready again after ",
		"2/3 " + b.url + " drains\n", "drained 1 session in ", "2/3 " + b.url + " ready again after ",
		"3/3 " + c.url + " drains\n", "drained 1 session in ", "3/3 " + c.url + " ready again after ",
	} {
		i := strings.Index(out[at:], step)
		if i < 0 {
			t.Fatalf("no %q after %q", step, out[:at])
		}
		at += i + len(step)
	}
}

func TestTheFirstKillStopsTheRest(t *testing.T) {
	a, b, c := start(t), start(t), start(t)
	b.session("hangs", true)
	out, err := drainAll(fleetOf(t, a.url, b.url, c.url), Rolling{Resume: true, Options: adminapi.DrainOptions{Deadline: 100 * time.Millisecond}})
	killed := new(KilledError)
	if !errors.As(err, &killed) || killed.Instance != b.url || !strings.Contains(out, "stopped: 1 instance was not drained: "+c.url) {
		t.Errorf("%v\n%s", err, out)
	}
	if got := states(a, b, c); !slices.Equal(got, []actors.State{actors.Serving, actors.Idle, actors.Serving}) {
		t.Errorf("%v", got)
	}
}

// Clients of an instance find no place where the others don't admit.
func TestNothingIsDrainedUnlessAllOthersServe(t *testing.T) {
	a, b := start(t), start(t)
	if _, err := b.Drain(t.Context(), actors.Drain{Standby: true}); err != nil {
		t.Fatal(err)
	}
	out, err := drainAll(fleetOf(t, a.url, b.url), Rolling{})
	if err == nil || !strings.Contains(err.Error(), "not drained, since "+b.url+" is drained") {
		t.Errorf("%v\n%s", err, out)
	}
	_, err = drainAll(fleetOf(t, b.url, a.url), Rolling{})
	if err == nil || !strings.Contains(err.Error(), "it is drained, and not drained again") {
		t.Errorf("%v", err)
	}
	_, err = drainAll(fleetOf(t, a.url, "127.0.0.1:1"), Rolling{})
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1:1 does not answer") {
		t.Errorf("%v", err)
	}
	if got := states(a); got[0] != actors.Serving {
		t.Errorf("%v", got)
	}
}

// Without --resume another hand brings the instance back. Until it is ready, no other is drained.
func TestTheNextInstanceWaitsUntilTheOneBeforeIsReady(t *testing.T) {
	a, b := start(t), start(t)
	out, err := drainAll(fleetOf(t, a.url, b.url), Rolling{ReadyTimeout: 100 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), a.url+": drained, and not ready again within 100ms") || !slices.Equal(states(a, b), []actors.State{actors.Idle, actors.Serving}) {
		t.Errorf("%v; %v\n%s", err, states(a, b), out)
	}
	if err := a.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer a.Listen(func(event any) {
		if _, over := event.(actors.DrainFinished); over {
			_ = a.Resume(context.Background())
		}
	})()
	defer b.Listen(func(event any) {
		if _, over := event.(actors.DrainFinished); over {
			_ = b.Resume(context.Background())
		}
	})()
	if out, err = drainAll(fleetOf(t, a.url, b.url), Rolling{}); err != nil || !strings.Contains(out, "2/2 "+b.url+" ready again after") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestThePageHasAllInstancesAndIsForThisMachineAlone(t *testing.T) {
	up := start(t)
	up.session("<b>w1</b>", false)
	handler := pageOf(fleetOf(t, up.url, "127.0.0.1:1"))
	get := func(path, host string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Host = host
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		return w
	}
	var views []instanceView
	if err := json.Unmarshal(get("/fleet", "127.0.0.1:8090").Body.Bytes(), &views); err != nil || len(views) != 2 ||
		views[0].State.State != actors.Serving || views[0].Sessions.Sessions[0].Workflow != "<b>w1</b>" || views[1].Error == "" || views[1].State != nil {
		t.Errorf("%+v, %v", views, err)
	}
	for _, path := range []string{"/", "/assets/fleet.js", "/assets/fleet.css", "/assets/style.css", "/assets/icon.svg"} {
		w := get(path, "localhost:8090")
		if w.Code != http.StatusOK || !strings.Contains(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: %d %v", path, w.Code, w.Header())
		}
	}
	if w := get("/fleet", "rebound.example"); w.Code != http.StatusForbidden {
		t.Errorf("another host: %d", w.Code)
	}
	if w := get("/elsewhere", "localhost"); w.Code != http.StatusNotFound {
		t.Errorf("elsewhere: %d", w.Code)
	}
}

func TestThePageInABrowser(t *testing.T) {
	up, other := start(t), start(t)
	up.session("<b>w1</b>", false)
	handler := pageOf(fleetOf(t, up.url, other.url, "127.0.0.1:1"))
	server := httptest.NewServer(handler)
	defer server.Close()
	tab := pagetest.Open(t, server.URL, "Failed to load resource") // in the end
	want := func(expression, text string) {
		t.Helper()
		late := time.Now().Add(30 * time.Second)
		got := ""
		for !strings.Contains(got, text) {
			if time.Now().After(late) {
				t.Fatalf("%s is %q, want %q in it", expression, got, text)
			}
			time.Sleep(50 * time.Millisecond)
			got = pagetest.Eval[string](tab, expression)
		}
	}
	want("document.title", "(1) 2/3 serving · lastcall fleet")
	want("document.getElementById('fleet-instances').innerText", "does not answer")
	want("document.getElementById('fleet-sessions').innerText", "<b>w1</b>")
	if _, err := other.Drain(t.Context(), actors.Drain{Standby: true}); err != nil {
		t.Fatal(err)
	}
	want("document.getElementById('all').innerText", "1 of 3 instances serving, 1 sessions")
	server.CloseClientConnections()
	server.Close()
	want("document.getElementById('problem').innerText", "does not answer: what is shown may be old")
}

func TestAxeFindsNothingOnTheFleetsPage(t *testing.T) {
	up := start(t)
	up.session("a workflow with a name that is so long that no column of a table has room for it", false)
	server := httptest.NewServer(pageOf(fleetOf(t, up.url, "127.0.0.1:1")))
	defer server.Close()
	tab := pagetest.Open(t, server.URL)
	tab.WaitContains("#fleet-sessions", "a workflow")
	tab.Axe("the fleet", ".fleet-box")
}
