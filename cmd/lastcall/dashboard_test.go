package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/client"
	"github.com/lastcall-go/lastcall/transport/porttest"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

// dashboard is what these tests look at of a Grafana dashboard.
type dashboard struct {
	Description   string
	SchemaVersion int
	Panels        []dashboardPanel
	Templating    struct {
		List []struct{ Name, Type, Definition string }
	}
	Annotations struct {
		List []struct {
			Name   string
			Target struct{ Expr string }
		}
	}
}

type dashboardPanel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	Datasource               struct{ UID string }
	Targets                  []struct {
		Expr       string
		Datasource struct{ UID string }
	}
}

func exampleDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	if err := json.Unmarshal([]byte(deployed(t, "grafana.json")), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// queries are those of all panels and annotations, by what they are for.
func (d dashboard) queries() map[string]string {
	all := make(map[string]string)
	for _, panel := range d.Panels {
		for i, target := range panel.Targets {
			all[fmt.Sprint(panel.Title, " ", i)] = target.Expr
		}
	}
	for _, annotation := range d.Annotations.List {
		if annotation.Target.Expr != "" {
			all["annotation "+annotation.Name] = annotation.Target.Expr
		}
	}
	return all
}

// TestTheDashboardIsInOrder: the rest of the schema is Grafana's to check.
func TestTheDashboardIsInOrder(t *testing.T) {
	d := exampleDashboard(t)
	if d.SchemaVersion != 42 || !strings.Contains(d.Description, "Import") {
		t.Errorf("schema version %d, description %q", d.SchemaVersion, d.Description)
	}
	var variables []string
	for _, variable := range d.Templating.List {
		variables = append(variables, variable.Name+" "+variable.Type)
	}
	if want := []string{"datasource datasource", "job query", "instance query"}; !slices.Equal(variables, want) {
		t.Errorf("variables %q, want %q", variables, want)
	}
	taken := make(map[[2]int]string)
	ids := make(map[int]bool)
	for _, panel := range d.Panels {
		if ids[panel.ID] {
			t.Errorf("%s has the ID of another panel", panel.Title)
		}
		ids[panel.ID] = true
		at := panel.GridPos
		for x := at.X; x < at.X+at.W; x++ {
			for y := at.Y; y < at.Y+at.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%s is over %s, or too far right", panel.Title, cmp.Or(other, "nothing"))
				}
				taken[[2]int{x, y}] = panel.Title
			}
		}
		if panel.Type == "row" {
			continue
		}
		if panel.Title == "" || panel.Description == "" || panel.Datasource.UID != "${datasource}" || len(panel.Targets) == 0 {
			t.Errorf("%+v has no title, description, data source or query", panel)
		}
		for _, target := range panel.Targets {
			if target.Datasource.UID != "${datasource}" {
				t.Errorf("%s asks %s", panel.Title, target.Datasource.UID)
			}
		}
	}
	for what, expr := range d.queries() {
		if selectors := strings.Count(expr, "{"); selectors == 0 || strings.Count(expr, `{job=~"$job", instance=~"$instance"`) != selectors {
			t.Errorf("%s: not all of %s is of the chosen instances", what, expr)
		}
	}
}

func TestTheDashboardIsOnMetricsThatThereAre(t *testing.T) {
	wantServed(t, deployed(t, "grafana.json"))
}

// monitored is a Prometheus that scrapes a gateway each second, and has the example's alerts.
type monitored struct {
	t   *testing.T
	url string
}

func monitor(t *testing.T, admin string) *monitored {
	t.Helper()
	program := monitoring(t, "prometheus")
	rules, err := filepath.Abs(filepath.Join("deploy", "prometheus-rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	dir, address := t.TempDir(), porttest.Address(t)
	config := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%q]\nscrape_configs:\n"+
		"  - {job_name: lastcall, static_configs: [{targets: [%q]}]}\n", rules, strings.TrimPrefix(admin, "http://"))
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	cmd := exec.Command(program, "--config.file", filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", address)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // its error is that it was killed
		if t.Failed() {
			t.Logf("log of Prometheus:\n%s", log.String())
		}
	})
	return &monitored{t, "http://" + address}
}

// get asks the API, and decodes the data of its answer.
func (m *monitored) get(path string, query url.Values, data any) error {
	client := &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(m.url + "/api/v1/" + path + "?" + query.Encode())
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %v", answer.Status, text, err)
	}
	return json.Unmarshal(text, &struct{ Data any }{data})
}

// values are what a query is answered with, one for each series.
func (m *monitored) values(query string) (values []float64, err error) {
	var data struct{ Result []struct{ Value [2]any } }
	if err := m.get("query", url.Values{"query": {query}}, &data); err != nil {
		return nil, fmt.Errorf("%s: %w", query, err)
	}
	for _, series := range data.Result {
		value, err := strconv.ParseFloat(fmt.Sprint(series.Value[1]), 64)
		if err != nil {
			return nil, err
		}
		values = append(values, value)
	}
	return values, nil
}

// eventually waits until what is wrong is nothing, at the latest until a time.
func (m *monitored) eventually(until time.Time, wrong func() error) {
	m.t.Helper()
	for ; ; time.Sleep(200 * time.Millisecond) {
		err := wrong()
		if err == nil {
			return
		}
		if time.Now().After(until) {
			m.t.Error(err)
			return
		}
	}
}

// lately is a query of a dashboard that shows all instances, over the last five minutes: what was so for a
// moment must have shown then.
func lately(expr string) string {
	expr = strings.NewReplacer("$job", ".+", "$instance", ".+", "$__rate_interval", "30s", "$__range", "30s").Replace(expr)
	return "max_over_time((" + expr + ")[5m:1s])"
}

// zero are the queries that a gateway answers with zeros where all is well.
var zero = []string{"lastcall_drain_estimate_seconds", "lastcall_leases_unguarded", "lastcall_leases_lost_total", "lastcall_log_records_dropped_total", "lastcall_panics_total"}

// Every query of the dashboard is answered by a real Prometheus that has scraped a gateway at which
// something of each kind has happened; an alert that should fire does.
func TestTheDashboardShowsAScenario(t *testing.T) {
	monitoring(t, "prometheus")
	p := startScenario(t)
	admin := p.record("listening")["admin"].(string)
	m := monitor(t, admin)
	m.eventually(time.Now().Add(patience), func() error { // it has seen that there was nothing
		if seen, err := m.values("lastcall_sessions_opened_total == 0"); err != nil || len(seen) == 0 {
			return fmt.Errorf("nothing was scraped: %v", err)
		}
		return nil
	})
	p.playScenario(admin)

	late := time.Now().Add(patience)
	for what, expr := range exampleDashboard(t).queries() {
		isZero := slices.ContainsFunc(zero, func(name string) bool { return strings.Contains(expr, name) })
		m.eventually(late, func() error {
			values, err := m.values(lately(expr))
			if err == nil && (len(values) == 0 || !isZero && !slices.ContainsFunc(values, func(v float64) bool { return v > 0 })) {
				err = fmt.Errorf("%s is answered with %v", expr, values)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			return nil
		})
	}
	for _, variable := range exampleDashboard(t).Templating.List[1:] {
		found := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`).FindStringSubmatch(variable.Definition)
		var data []string
		if err := m.get("label/"+found[2]+"/values", url.Values{"match[]": {strings.ReplaceAll(found[1], "$job", ".+")}}, &data); err != nil || len(data) != 1 {
			t.Errorf("the variable %s has the values %q: %v", variable.Name, data, err)
		}
	}
	m.eventually(late, func() error { return m.alerts("LastcallDrainKilledSessions") })
	p.drain(syscall.SIGTERM, 0)
}

// alerts are wanted to fire, all others to be evaluated.
func (m *monitored) alerts(want ...string) error {
	var data struct {
		Groups []struct {
			Rules []struct{ Name, State, Health, LastError string }
		}
	}
	if err := m.get("rules", nil, &data); err != nil {
		return err
	}
	var firing []string
	for _, rule := range data.Groups[0].Rules {
		if rule.Health != "ok" {
			return fmt.Errorf("%s is %s: %s", rule.Name, rule.Health, rule.LastError)
		}
		if rule.State == "firing" {
			firing = append(firing, rule.Name)
		}
	}
	if !slices.Equal(firing, want) {
		return fmt.Errorf("alerts %q fire, want %q", firing, want)
	}
	return nil
}

// startScenario starts a gateway whose endpoint sends sessions to one of two agents, by their token. The
// first agent calls a tool and ends; the second one waits, and its workflows behave as they are called.
func startScenario(t *testing.T) *process {
	t.Helper()
	short := startAgent(t, scripted.Ask(asksAPI)).address
	long := startScripted(t, scripted.Options{
		Steps: []scripted.Step{scripted.Checkpoint("begun"), scripted.Wait()},
		Misbehave: func(workflow string) scripted.Misbehaviour {
			switch workflow {
			case "deaf":
				return scripted.Misbehaviour{NeverAcknowledge: true}
			case "slow":
				return scripted.Misbehaviour{AcknowledgeAfter: 2500 * time.Millisecond}
			case "fails":
				return scripted.Misbehaviour{BreakOff: status.New(codes.Internal, "broken"), BreakOffAfter: 1}
			}
			return scripted.Misbehaviour{}
		},
	})
	agents := map[string]string{"Bearer short": short, "Bearer long": long}
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		agent := agents[r.Header.Get("Authorization")]
		switch {
		case r.URL.Path == "/api/v4/user":
			_, _ = io.WriteString(w, "ada")
		case agent == "":
			w.WriteHeader(http.StatusUnauthorized)
		default:
			w.Header().Set("Content-Type", "application/json")
			_, _ = fmt.Fprintf(w, `{"GL_ID": "user-1", "DuoWorkflow": {"Service": {"URI": %q, "Headers": {"x-gitlab-oauth-token": %q}}}}`, agent, apiToken)
		}
	}))
	t.Cleanup(endpoint.Close)
	return startServe(t, "no daemon", "--auth", "forward", "--auth-url", endpoint.URL, "--lock", "--stop-timeout", "4s")
}

// startScripted runs an agent on a port of the test's.
func startScripted(t *testing.T, options scripted.Options) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- scripted.New(options).Serve(ctx, listener) }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("the agent: %v", err)
		}
	})
	return listener.Addr().String()
}

// playScenario has sessions that end in most ways, a tool call, a refusal, and a drain that takes a while.
func (p *process) playScenario(admin string) {
	p.t.Helper()
	<-p.begin("short", "completes").end
	p.begin("long", "leaves").conn.Cut()
	<-p.begin("long", "fails").end
	p.wantStatus("nobody", http.StatusUnauthorized)
	p.begin("long", "slow")
	p.begin("long", "stays")
	p.silent("long", "deaf") // neither its agent nor its client says a last word
	var deaf struct{ ID string }
	_, out, _ := lastcall(p.t, "sessions", "--json", "--workflow", "deaf", "--admin", admin)
	if err := json.Unmarshal([]byte(out), &deaf); err != nil {
		p.t.Fatalf("%s: %v", out, err)
	}
	if code, out, errs := lastcall(p.t, "drain", deaf.ID, "--deadline", "500ms", "--admin", admin); code != exitKilled {
		p.t.Fatalf("exit code %d, want %d: %s%s", code, exitKilled, out, errs)
	}
	if code, out, errs := lastcall(p.t, "drain", "--yes", "--admin", admin); code != 0 {
		p.t.Fatalf("exit code %d, want 0: %s%s", code, out, errs)
	}
}

// begun is a session of a scenario.
type begun struct {
	conn *client.Conn
	end  <-chan error
}

// begin opens a session with a token, waits until it is under way, and reads on.
func (p *process) begin(token, workflow string) begun {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	p.t.Cleanup(cancel)
	conn, err := client.Dial(ctx, client.Config{
		URL: p.url, Header: http.Header{"Authorization": {"Bearer " + token}}, Start: &dap.StartWorkflowRequest{WorkflowID: workflow},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(conn.Cut)
	if _, err := conn.Receive(ctx); err != nil {
		p.t.Fatal(err)
	}
	return begun{conn, endOf(ctx, conn)}
}

// silent opens a session whose client reads until it is under way, and no more.
func (p *process) silent(token, workflow string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, p.url, &websocket.DialOptions{HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = conn.CloseNow() })
	if err := conn.Write(ctx, websocket.MessageText, []byte(`{"startRequest": {"workflowID": "`+workflow+`"}}`)); err != nil {
		p.t.Fatal(err)
	}
	if _, _, err := conn.Read(ctx); err != nil {
		p.t.Fatal(err)
	}
}
