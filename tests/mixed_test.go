package tests

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/client"
	"github.com/lastcall-go/lastcall/transport/grant"
	"github.com/lastcall-go/lastcall/transport/grpcsession"
	"github.com/lastcall-go/lastcall/transport/httpsession"
	"github.com/lastcall-go/lastcall/transport/metrics"
	"github.com/lastcall-go/lastcall/transport/scripted"
)

// The kinds of the connections that are not DAP.
const (
	kindTerminal = "terminal" // a WebSocket
	kindNews     = "news"     // server-sent events
	kindWatch    = "watch"    // a gRPC stream
)

// What a connection does when it is asked to stop.
const (
	behaves = "behaves"
	hangs   = "hangs"  // heeds nothing until it is cut
	breaks  = "breaks" // panics. DAP: when it is to tell the agent
)

// What a client observes of the end of its connection.
const (
	toldGoingAway     = "close 1001"
	toldInternalError = "close 1011"
	toldGoodbye       = "goodbye"
	toldUnavailable   = "goodbye, UNAVAILABLE"
	onlyUnavailable   = "UNAVAILABLE"
	toldInternal      = "INTERNAL"
	wasCut            = "cut"
)

const mixedReason = "new version"

// mixedEnd is the end of a connection: how its session ended, and how its client saw it.
type mixedEnd struct {
	kind     string
	outcome  actors.Outcome
	observed string
}

// mixedEnds are the ends of 75 connections of each kind.
var mixedEnds = map[mixedEnd]int{
	{relay.Kind, actors.Drained, toldGoingAway}:    73,
	{relay.Kind, actors.Cancelled, toldGoingAway}:  1,
	{relay.Kind, actors.Failed, toldInternalError}: 1,
	{kindTerminal, actors.Drained, toldGoingAway}:  73,
	{kindTerminal, actors.Killed, wasCut}:          1,
	{kindTerminal, actors.Failed, wasCut}:          1,
	{kindNews, actors.Drained, toldGoodbye}:        73,
	{kindNews, actors.Killed, wasCut}:              1,
	{kindNews, actors.Failed, wasCut}:              1,
	{kindWatch, actors.Drained, toldUnavailable}:   73,
	{kindWatch, actors.Killed, onlyUnavailable}:    1,
	{kindWatch, actors.Failed, toldInternal}:       1,
}

type (
	kindAndOutcome  [2]string
	kindAndObserved [2]string
)

func TestOneDrainEndsConnectionsOfEveryKind(t *testing.T) {
	m := newMixed(t)
	before := m.snapshot()
	if kinds := kindsOf(before); before.State != actors.Serving || !maps.Equal(kinds, map[string]int{relay.Kind: 75, kindTerminal: 75, kindNews: 75, kindWatch: 75}) {
		t.Fatalf("before the drain the supervisor is %s, with %v", before.State, kinds)
	}
	m.wantMetrics(map[string]float64{
		`lastcall_sessions_opened_total{kind="dap",transport="websocket"}`:   75,
		`lastcall_sessions_opened_total{kind="other",transport="websocket"}`: 75,
		`lastcall_sessions_opened_total{kind="other",transport="sse"}`:       75,
		`lastcall_sessions_opened_total{kind="other",transport="grpc"}`:      75,
	})

	report, err := m.supervisor.Drain(context.Background(), actors.Drain{
		Deadline: time.Now().Add(8 * time.Second), BatchSize: 50, BatchInterval: 100 * time.Millisecond, Reason: mixedReason,
	})
	m.wantObserved()
	m.wantReport(report, err, before)
	m.wantEvents(report)
	m.wantAfter(report)
	m.wantMetrics(map[string]float64{
		`lastcall_drains_total{result="killed",scope="all"}`:                  1,
		`lastcall_sessions_ended_total{code="1001",outcome="drained"}`:        73,
		`lastcall_sessions_ended_total{code="1001",outcome="cancelled"}`:      1,
		`lastcall_sessions_ended_total{code="none",outcome="drained"}`:        3 * 73, // a handler reports no code
		`lastcall_sessions_ended_total{code="1011",outcome="failed"}`:         1,
		`lastcall_sessions_ended_total{code="none",outcome="failed"}`:         3,
		`lastcall_sessions_ended_total{code="none",outcome="killed"}`:         3,
		`lastcall_session_duration_seconds_count{outcome="drained"}`:          4 * 73,
		`lastcall_session_duration_seconds_count{outcome="failed"}`:           4,
		`lastcall_session_duration_seconds_count{outcome="completed"}`:        0,
		`lastcall_session_duration_seconds_count{outcome="client_gone"}`:      0,
		`lastcall_panics_total{where="session"}`:                              4,
		`lastcall_sessions{kind="dap",phase="serving",transport="websocket"}`: 0,
		`lastcall_drain_sessions_left{scope="all"}`:                           0,
		`lastcall_draining`:      1,
		`lastcall_agent_streams`: 0,
		`lastcall_session_phase_duration_seconds_count{phase="stopping"}`: 300,
		`lastcall_drain_phase_duration_seconds_count{phase="sessions"}`:   1,
	})
}

// mixed is a gateway that serves other connections too, and their clients.
type mixed struct {
	*gateway
	metrics  *metrics.Metrics
	watch    *grpc.ClientConn
	http     http.Client
	reading  sync.WaitGroup
	mu       sync.Mutex
	observed map[kindAndObserved]int
	events   []any
}

// newMixed opens 75 connections of each kind.
func newMixed(t *testing.T) *mixed {
	t.Helper()
	a := newAgent(t, scripted.Options{Steps: waiting, Misbehave: func(workflow string) scripted.Misbehaviour {
		return scripted.Misbehaviour{NeverAcknowledge: strings.HasPrefix(workflow, hangs)}
	}})
	m := &mixed{
		gateway:  newGateway(t, a, actors.Options{StopTimeout: 4 * time.Second, CloseTimeout: time.Second}),
		http:     http.Client{Transport: &http.Transport{}},
		observed: make(map[kindAndObserved]int),
	}
	t.Cleanup(m.http.CloseIdleConnections)
	var err error
	if m.metrics, err = metrics.New(metrics.Options{Snapshot: m.supervisor.Snapshot, Pool: m.pool.Stats}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.supervisor.Listen(m.metrics.Observe))
	t.Cleanup(m.supervisor.Listen(m.hear))
	m.serveHTTP()
	m.serveGRPC()
	for i := range 75 {
		does := behaves
		switch i {
		case 20:
			does = hangs
		case 40:
			does = breaks
		}
		m.observe(relay.Kind, m.openDAP(does, fmt.Sprint(does, i)))
		m.observe(kindTerminal, m.openTerminal(does))
		m.observe(kindNews, m.openNews(does))
		m.observe(kindWatch, m.openWatch(does))
	}
	return m
}

func (m *mixed) hear(event any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.events = append(m.events, event)
}

// observe waits for the end of a connection beside the test.
func (m *mixed) observe(kind string, end func() string) {
	m.reading.Go(func() {
		observed := end()
		m.mu.Lock()
		defer m.mu.Unlock()
		m.observed[kindAndObserved{kind, observed}]++
	})
}

// serveHTTP serves the WebSockets and the server-sent events. The path says what a connection does.
func (m *mixed) serveHTTP() {
	m.mux.HandleFunc("GET /"+breaks, m.serveBreaking)
	for kind, route := range map[string]struct {
		transport string
		handler   http.HandlerFunc
	}{kindTerminal: {"websocket", serveMixedTerminal}, kindNews: {"sse", serveMixedNews}} {
		m.mux.Handle("GET /"+kind+"/{does}", httpsession.Wrap(route.handler, httpsession.Options{
			Supervisor: m.supervisor, Kind: kind, Transport: route.transport,
		}))
	}
}

// serveBreaking serves DAP with an agent whose stream panics when the session is to stop.
func (m *mixed) serveBreaking(w http.ResponseWriter, r *http.Request) {
	ticket, err := m.supervisor.Admit(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer ticket.Cancel()
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	life, cut := context.WithCancel(context.Background())
	parts := relay.Session{
		Client:    &trappedClient{ws: ws, life: life, cut: cut},
		Agent:     breakingAgent{m.pool.Agent(grant.Target{}, r.UserAgent())},
		Transport: "websocket",
	}
	if _, err := relay.Start(ticket, parts); err != nil {
		cut()
		_ = ws.CloseNow()
	}
}

type breakingAgent struct{ relay.Agent }

func (a breakingAgent) Open(ctx context.Context) (relay.Stream, error) {
	stream, err := a.Agent.Open(ctx)
	return breakingStream{stream}, err
}

type breakingStream struct{ relay.Stream }

func (s breakingStream) Send(message relay.Message) error {
	event := new(dap.ClientEvent)
	if err := message.Decode(event); err != nil || event.GetStopWorkflow() != nil {
		panic("told to stop")
	}
	return s.Stream.Send(message)
}

func serveMixedTerminal(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = ws.CloseNow() }()
	if ws.Write(r.Context(), websocket.MessageText, []byte("begun")) != nil {
		return
	}
	if r.PathValue("does") == hangs {
		_, _, _ = ws.Read(context.Background())
		return
	}
	<-r.Context().Done()
	if r.PathValue("does") == breaks {
		panic("told to stop")
	}
	_ = ws.Close(websocket.StatusGoingAway, reasonOf(r.Context()))
}

func serveMixedNews(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	_ = errors.Join(control.SetReadDeadline(time.Time{}), control.SetWriteDeadline(time.Time{}))
	send := func(text string) error {
		_, err := io.WriteString(w, text)
		return errors.Join(err, control.Flush())
	}
	err := send("data: begun\n\n")
	for r.PathValue("does") == hangs && err == nil {
		err = send(strings.Repeat(": more\n\n", 8<<10)) // a client that doesn't read blocks it
	}
	<-r.Context().Done()
	if r.PathValue("does") == breaks {
		panic("told to stop")
	}
	_ = send("event: goodbye\ndata: " + reasonOf(r.Context()) + "\n\n")
}

func reasonOf(ctx context.Context) string {
	var stop *actors.Stop
	if errors.As(context.Cause(ctx), &stop) {
		return stop.Reason
	}
	return "not told"
}

// serveGRPC serves the streams. The method says what a stream does.
func (m *mixed) serveGRPC() {
	m.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		m.t.Fatal(err)
	}
	server := grpc.NewServer(
		grpc.StreamInterceptor(grpcsession.StreamInterceptor(grpcsession.Options{Supervisor: m.supervisor, Kind: kindWatch})),
		grpc.UnknownServiceHandler(serveMixedWatch),
	)
	if err := m.supervisor.Add("grpc server", actors.AfterSessions, &grpcsession.Server{Server: server, Listener: listener}); err != nil {
		m.t.Fatal(err)
	}
	if m.watch, err = grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = m.watch.Close() })
}

func serveMixedWatch(_ any, stream grpc.ServerStream) error {
	if err := stream.SendMsg(new(emptypb.Empty)); err != nil {
		return err
	}
	method, _ := grpc.MethodFromServerStream(stream)
	if strings.HasSuffix(method, hangs) {
		return stream.RecvMsg(new(emptypb.Empty))
	}
	<-stream.Context().Done()
	if strings.HasSuffix(method, breaks) {
		panic("told to stop")
	}
	return errors.Join(stream.SendMsg(new(emptypb.Empty)), stream.Context().Err())
}

// openDAP and the others below open a connection, wait until its session has brought something, and
// return what observes its end.
func (m *mixed) openDAP(does, workflow string) func() string {
	m.t.Helper()
	config := m.config(workflow)
	if does == breaks {
		config.URL = "ws://" + m.address + "/" + breaks
	}
	conn, err := client.Dial(context.Background(), config)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(conn.Cut)
	c := (&guest{Conn: conn, g: m.gateway, workflow: workflow}).begun()
	return func() string { return m.closed(c.over()) }
}

// closed is what a client makes of a close frame; 1006 is none.
func (m *mixed) closed(told *client.CloseError) string {
	switch {
	case told.Code == 1001 && told.Reason == mixedReason:
		return toldGoingAway
	case told.Code == 1011 && told.Reason == "internal error":
		return toldInternalError
	case told.Code == 1006:
		return wasCut
	}
	return told.Error()
}

func (m *mixed) openTerminal(does string) func() string {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	m.t.Cleanup(cancel)
	ws, _, err := websocket.Dial(ctx, "ws://"+m.address+"/"+kindTerminal+"/"+does, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = ws.CloseNow() })
	if _, _, err := ws.Read(ctx); err != nil {
		m.t.Fatal(err)
	}
	return func() string {
		_, _, err := ws.Read(ctx)
		told := &client.CloseError{Code: 1006}
		var closed websocket.CloseError
		if errors.As(err, &closed) {
			told = &client.CloseError{Code: int(closed.Code), Reason: closed.Reason}
		}
		return m.closed(told)
	}
}

func (m *mixed) openNews(does string) func() string {
	m.t.Helper()
	response, err := m.http.Get("http://" + m.address + "/" + kindNews + "/" + does)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = response.Body.Close() })
	body := bufio.NewReader(response.Body)
	if line, err := body.ReadString('\n'); line != "data: begun\n" {
		m.t.Fatalf("%q %v", line, err)
	}
	return func() string {
		if does == hangs { // its client reads nothing until the drain is over
			eventually(m.t, "the drain is over", func() bool { return len(eventsOf[actors.DrainFinished](m)) > 0 })
		}
		text, err := io.ReadAll(body)
		switch {
		case err == nil && strings.HasSuffix(string(text), "event: goodbye\ndata: "+mixedReason+"\n\n"):
			return toldGoodbye
		case err != nil && !strings.Contains(string(text), "goodbye"):
			return wasCut
		}
		return fmt.Sprintf("%d bytes, %v", len(text), err)
	}
}

func (m *mixed) openWatch(does string) func() string {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	m.t.Cleanup(cancel)
	stream, err := m.watch.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test/"+does)
	if err != nil {
		m.t.Fatal(err)
	}
	if err := stream.RecvMsg(new(emptypb.Empty)); err != nil {
		m.t.Fatal(err)
	}
	return func() string {
		words, err := 0, error(nil)
		for ; err == nil; words++ {
			err = stream.RecvMsg(new(emptypb.Empty))
		}
		switch got := status.Convert(err); {
		case words == 2 && got.Code() == codes.Unavailable && got.Message() == mixedReason:
			return toldUnavailable
		case words == 1 && got.Code() == codes.Unavailable && got.Message() == mixedReason:
			return onlyUnavailable
		case words == 1 && got.Code() == codes.Internal:
			return toldInternal
		}
		return fmt.Sprintf("%d words, %v", words-1, err)
	}
}

func (m *mixed) snapshot() actors.Snapshot {
	m.t.Helper()
	snapshot, err := m.supervisor.Snapshot(context.Background())
	if err != nil {
		m.t.Fatal(err)
	}
	return snapshot
}

// kindsOf counts the sessions that are serving, by kind.
func kindsOf(snapshot actors.Snapshot) map[string]int {
	kinds := make(map[string]int)
	for _, session := range snapshot.Sessions {
		if session.Phase == actors.PhaseServing {
			kinds[session.Kind]++
		}
	}
	return kinds
}

func (m *mixed) wantObserved() {
	m.t.Helper()
	m.reading.Wait()
	want := make(map[kindAndObserved]int)
	for end, n := range mixedEnds {
		want[kindAndObserved{end.kind, end.observed}] += n
	}
	if !maps.Equal(m.observed, want) {
		m.t.Errorf("the clients observed\n%v, want\n%v", m.observed, want)
	}
}

func (m *mixed) wantReport(report *actors.Report, err error, before actors.Snapshot) {
	m.t.Helper()
	kinds := make(map[string]string)
	for _, session := range before.Sessions {
		kinds[session.ID] = session.Kind
	}
	got := make(map[kindAndOutcome]int)
	for _, session := range report.Sessions {
		got[kindAndOutcome{kinds[session.ID], string(session.Outcome)}]++
	}
	want, totals := endsByOutcome()
	if !maps.Equal(got, want) || !maps.Equal(report.Totals, totals) {
		m.t.Errorf("the report says\n%v, totals %v; want\n%v, totals %v", got, report.Totals, want, totals)
	}
	var killed *actors.KilledError
	if !errors.As(err, &killed) || len(killed.Sessions) != totals[actors.Killed] || len(killed.Services) != 0 {
		m.t.Errorf("the drain's error is %v", err)
	}
	for _, service := range report.Services {
		if service.Outcome != actors.Drained {
			m.t.Errorf("the service %q is %s", service.Name, service.Outcome)
		}
	}
}

func endsByOutcome() (ends map[kindAndOutcome]int, totals map[actors.Outcome]int) {
	ends, totals = make(map[kindAndOutcome]int), make(map[actors.Outcome]int)
	for end, n := range mixedEnds {
		ends[kindAndOutcome{end.kind, string(end.outcome)}] += n
		totals[end.outcome] += n
	}
	return ends, totals
}

// eventsOf are the events of a type so far.
func eventsOf[E any](m *mixed) (all []E) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, event := range m.events {
		if e, is := event.(E); is {
			all = append(all, e)
		}
	}
	return all
}

func (m *mixed) wantEvents(report *actors.Report) {
	m.t.Helper()
	eventually(m.t, "the drain is over", func() bool { return len(eventsOf[actors.DrainFinished](m)) > 0 })
	got, seen := make(map[kindAndOutcome]int), make(map[string]int)
	for _, stopped := range eventsOf[actors.SessionStopped](m) {
		got[kindAndOutcome{stopped.Kind, string(stopped.Outcome)}]++
		seen[stopped.ID]++
		if panicked := errors.As(stopped.Err, new(*actors.PanicError)); panicked != (stopped.Outcome == actors.Failed) {
			m.t.Errorf("a %s session is %s: %v", stopped.Kind, stopped.Outcome, stopped.Err)
		}
	}
	want, totals := endsByOutcome()
	if started := eventsOf[actors.SessionStarted](m); len(started) != 300 || len(seen) != 300 || !maps.Equal(got, want) {
		m.t.Errorf("%d sessions started, %d stopped: %v, want %v", len(started), len(seen), got, want)
	}
	if over := eventsOf[actors.DrainFinished](m); len(over) != 1 || over[0].Report.ID != report.ID || !maps.Equal(over[0].Totals, totals) {
		m.t.Errorf("the end of the drain was told as %+v", over)
	}
	m.wantBatches()
}

// wantBatches: sessions are asked 50 at a time, and the last of the six batches half a second after the first.
func (m *mixed) wantBatches() {
	m.t.Helper()
	for _, progress := range eventsOf[actors.DrainProgress](m) {
		if progress.Untold%50 != 0 {
			m.t.Errorf("%d sessions are untold", progress.Untold)
		}
	}
	var first, last time.Time
	told := 0
	for _, phase := range eventsOf[actors.SessionPhase](m) {
		if phase.Phase != actors.PhaseStopping {
			continue
		}
		told++
		if first.IsZero() || phase.At.Before(first) {
			first = phase.At
		}
		if phase.At.After(last) {
			last = phase.At
		}
	}
	if spread := last.Sub(first); told != 300 || spread < 250*time.Millisecond {
		m.t.Errorf("%d sessions were told within %v", told, spread)
	}
}

func (m *mixed) wantAfter(report *actors.Report) {
	m.t.Helper()
	after := m.snapshot()
	if after.State != actors.Idle || after.Open != 0 || len(after.Sessions) != 0 || after.Tickets != 0 || len(after.Drains) != 1 {
		m.t.Fatalf("after the drain: %+v", after)
	}
	if drain := after.Drains[0]; !drain.Over || drain.ID != report.ID || drain.Sessions != 300 || len(drain.Killed) != 3 || !maps.Equal(drain.Totals, report.Totals) {
		m.t.Errorf("after the drain: %+v", drain)
	}
}

// wantMetrics waits until these figures are served: events reach the metrics a moment later.
func (m *mixed) wantMetrics(want map[string]float64) {
	m.t.Helper()
	for name, value := range want {
		got := ""
		eventually(m.t, fmt.Sprintf("%s is %v", name, value), func() bool {
			got = m.scrape()[name]
			figure, err := strconv.ParseFloat(got, 64)
			return err == nil && figure == value
		})
	}
}

// scrape returns the figures by name.
func (m *mixed) scrape() map[string]string {
	answer := httptest.NewRecorder()
	m.metrics.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	figures := make(map[string]string)
	for line := range strings.Lines(answer.Body.String()) {
		if at := strings.LastIndexByte(line, ' '); at > 0 {
			figures[line[:at]] = strings.TrimSpace(line[at:])
		}
	}
	return figures
}
