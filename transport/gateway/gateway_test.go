package gateway

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport"
	"github.com/lastcall-go/lastcall/transport/admin"
	"github.com/lastcall-go/lastcall/transport/agentpool"
	"github.com/lastcall-go/lastcall/transport/client"
	"github.com/lastcall-go/lastcall/transport/httpserver"
	"github.com/lastcall-go/lastcall/transport/lease"
	"github.com/lastcall-go/lastcall/transport/redislease"
	"github.com/lastcall-go/lastcall/transport/scripted"
	"github.com/lastcall-go/lastcall/transport/tracing"
)

// patience is for what should come at once, on a machine that has other things to do.
const patience = 30 * time.Second

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	listener, err := httpserver.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// Options that can't work are named, and nothing of them stays open.
func TestOptionsThatCannotWorkAreNamed(t *testing.T) {
	agent := agentpool.Options{Target: "127.0.0.1:1"}
	for name, test := range map[string]struct {
		option string
		change func(*Options)
	}{
		"no listener":           {"Sessions", func(o *Options) { _ = o.Sessions.Close(); o.Sessions = nil }},
		"no agent":              {"Agent", func(o *Options) { o.Agent = agentpool.Options{} }},
		"an agent that is none": {"Agent", func(o *Options) { o.Agent.Target = "http://agent:1" }},
		"a path of many":        {"Path", func(o *Options) { o.Path = "/{any}" }},
		"a drain too short":     {"Drain", func(o *Options) { o.Drain.Timeout, o.Drain.Grace = time.Second, time.Second }},
		"a negative delay":      {"Drain", func(o *Options) { o.Drain.Delay = -time.Second }},
		"a negative limit":      {"Supervisor", func(o *Options) { o.Supervisor.MaxSessions = -1 }},
		"no folder":             {"ReportPath", func(o *Options) { o.ReportPath = filepath.Join(t.TempDir(), "none", "report") }},
		"two leasers":           {"Leaser", func(o *Options) { o.Leaser, o.LeaseStore.URL = &lease.Memory{}, "redis://127.0.0.1:1" }},
		"a store that is none":  {"LeaseStore", func(o *Options) { o.LeaseStore = redislease.Options{URL: "http://127.0.0.1:1"} }},
		"no collector":          {"Tracing", func(o *Options) { o.Tracing = tracing.Options{Endpoint: "nowhere"} }},
		"an open door": {"Sessions", func(o *Options) {
			_ = o.Sessions.Close()
			o.Sessions = listen(t, "0.0.0.0:0")
		}},
		"an open admin": {"Admin", func(o *Options) {
			_ = o.Admin.Close()
			o.Admin = listen(t, "0.0.0.0:0")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			options := Options{Sessions: listen(t, "127.0.0.1:0"), Admin: listen(t, "127.0.0.1:0"), Agent: agent}
			test.change(&options)
			_, err := New(options)
			var wrong *OptionError
			if !errors.As(err, &wrong) || wrong.Option != test.option || !strings.Contains(err.Error(), test.option) {
				t.Errorf("got %v, want the option %s named", err, test.option)
			}
			for _, listener := range []net.Listener{options.Sessions, options.Admin} {
				if listener == nil {
					continue
				}
				if conn, err := net.Dial("tcp", listener.Addr().String()); err == nil {
					_ = conn.Close()
					t.Errorf("%v stays open", listener.Addr())
				}
			}
		})
	}
}

// serving is a gateway in this process, with a scripted agent.
type serving struct {
	*Gateway
	url  string
	stop context.CancelFunc
	ran  chan error
}

func serve(t *testing.T, options Options, steps ...scripted.Step) *serving {
	t.Helper()
	wire := bufconn.Listen(1 << 16)
	agent := scripted.New(scripted.Options{Steps: steps})
	options.Sessions = listen(t, "127.0.0.1:0")
	options.Agent = agentpool.Options{Target: "passthrough:///agent", DialOptions: []grpc.DialOption{
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return wire.DialContext(ctx) }),
	}}
	options.Services = append(options.Services, Service{"agent", actors.AfterSessions, actors.ServiceFunc(func(ctx context.Context) error {
		return agent.Serve(ctx, wire)
	})})
	started := make(chan struct{})
	options.Started = func() { close(started) }
	g, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &serving{g, "ws://" + options.Sessions.Addr().String() + transport.DefaultPath, stop, make(chan error, 1)}
	go func() { s.ran <- g.Run(ctx) }()
	<-started
	return s
}

// session begins a workflow, and returns how it ends.
func (s *serving) session(t *testing.T) (end <-chan error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	conn, err := client.Dial(ctx, client.Config{URL: s.url, Start: &dap.StartWorkflowRequest{WorkflowID: "w1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Cut(); cancel() })
	if _, err := conn.Receive(ctx); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		var err error
		for err == nil {
			_, err = conn.Receive(ctx)
		}
		ended <- err
	}()
	return ended
}

func (s *serving) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-s.ran:
		return err
	case <-time.After(patience):
		t.Fatal("Run goes on")
		return nil
	}
}

func wantGoingAway(t *testing.T, end <-chan error) {
	t.Helper()
	var closed *client.CloseError
	if err := <-end; !errors.As(err, &closed) || closed.Code != actors.CloseGoingAway {
		t.Errorf("the session ended with %v, want close code %d", err, actors.CloseGoingAway)
	}
}

// The end of the context drains, and the report says how.
func TestTheEndOfTheContextDrains(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.json")
	var deadline time.Time
	s := serve(t, Options{ReportPath: path, Draining: func(until time.Time) { deadline = until }}, scripted.Checkpoint("begun"), scripted.Wait())
	end := s.session(t)
	s.stop()
	if err := s.end(t); err != nil {
		t.Error(err)
	}
	wantGoingAway(t, end)
	if report := readReport(t, path); report.Totals[actors.Drained] != 1 {
		t.Errorf("totals %v, want one drained", report.Totals)
	}
	if left := time.Until(deadline); left <= 0 || left > actors.DefaultDrain {
		t.Errorf("the deadline was in %v", left)
	}
}

// Hurry makes the deadline now, of a drain that would take longer than this test has.
func TestHurryMakesTheDeadlineNow(t *testing.T) {
	for name, hurry := range map[string]func(*serving){
		"in the drain":     func(s *serving) { s.stop(); time.Sleep(10 * time.Millisecond); s.Hurry() },
		"before the drain": func(s *serving) { s.Hurry(); s.stop() },
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, Options{Drain: admin.Defaults{Timeout: 10 * time.Minute, Delay: 5 * time.Minute}}, scripted.Checkpoint("begun"), scripted.Wait())
			end := s.session(t)
			hurry(s)
			_ = s.end(t) // which sessions are killed depends on the machine
			if err := <-end; err == nil {
				t.Error("the session goes on")
			}
		})
	}
}

// A service that fails ends the gateway in order.
func TestAServiceThatFailsDrains(t *testing.T) {
	fail := make(chan struct{})
	broken := errors.New("out of input")
	s := serve(t, Options{Services: []Service{{"daemon", actors.WithSessions, actors.ServiceFunc(func(context.Context) error {
		<-fail
		return broken
	})}}}, scripted.Checkpoint("begun"), scripted.Wait())
	end := s.session(t)
	close(fail)
	if err := s.end(t); !errors.Is(err, broken) || err.Error() != "daemon ended: out of input" {
		t.Errorf("Run returned %v", err)
	}
	wantGoingAway(t, end)
}

// What had to be killed is an error that says so.
func TestWhatHadToBeKilledIsTheError(t *testing.T) {
	stuck := make(chan struct{})
	defer close(stuck)
	s := serve(t, Options{Drain: admin.Defaults{Timeout: 500 * time.Millisecond}, Services: []Service{{"daemon", actors.WithSessions, actors.ServiceFunc(func(context.Context) error {
		<-stuck
		return nil
	})}}})
	s.stop()
	var killed *actors.KilledError
	if err := s.end(t); !errors.As(err, &killed) || !slices.Contains(killed.Services, "daemon") {
		t.Errorf("Run returned %v, want the daemon named", err)
	}
}

// Without tools the actions of a grant are the client's.
func TestWithoutToolsTheClientIsAsked(t *testing.T) {
	if tools := (&Gateway{options: Options{NoTools: true}}).tools(nil); tools != nil {
		t.Error("there are tools")
	}
}

// A program that serves http.DefaultServeMux for something else must not show its profiles there: importing
// net/http/pprof would be enough for that.
func TestAnEmbeddedGatewayPutsNothingOnTheDefaultServeMux(t *testing.T) {
	if _, pattern := http.DefaultServeMux.Handler(httptest.NewRequest(http.MethodGet, "/debug/pprof/", nil)); pattern != "" {
		t.Errorf("%s is served there", pattern)
	}
}
