package agentpool_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/lastcall-go/lastcall/actors"
	"github.com/lastcall-go/lastcall/actors/actorstest"
	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/proto/dap"
	"github.com/lastcall-go/lastcall/transport/agentpool"
	"github.com/lastcall-go/lastcall/transport/grant"
)

// network counts the connections of a pool to an agent in memory.
type network struct {
	*actorstest.Network
	mu      sync.Mutex
	dialled int
	open    int
}

func (n *network) dialOption() grpc.DialOption {
	return grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		conn, err := n.Dial(ctx)
		if err == nil {
			n.dialled++
			n.open++
		}
		return &counted{Conn: conn, network: n}, err
	})
}

// counts returns how many connections were ever opened, and are open.
func (n *network) counts() (dialled, open int) {
	synctest.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dialled, n.open
}

type counted struct {
	net.Conn
	network *network
	once    sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() {
		c.network.mu.Lock()
		defer c.network.mu.Unlock()
		c.network.open--
	})
	return c.Conn.Close()
}

// agent is a DuoWorkflow service that reports its callers and then waits for the end of the stream.
type agent struct {
	dap.UnimplementedDuoWorkflowServer
}

func (agent) ExecuteWorkflow(stream dap.DuoWorkflow_ExecuteWorkflowServer) error {
	<-stream.Context().Done()
	return status.FromContextError(stream.Context().Err()).Err()
}

// inPool runs test with a pool and a stock gRPC server in a bubble.
func inPool(t *testing.T, options agentpool.Options, test func(t *testing.T, p *agentpool.Pool, n *network)) {
	t.Helper()
	inPoolWithServer(t, options, nil, test)
}

func inPoolWithServer(t *testing.T, options agentpool.Options, server []grpc.ServerOption, test func(t *testing.T, p *agentpool.Pool, n *network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &network{Network: actorstest.NewNetwork()}
		server := grpc.NewServer(append(server, grpc.WaitForHandlers(true))...)
		dap.RegisterDuoWorkflowServer(server, agent{})
		go server.Serve(n.Network)
		defer server.Stop()
		options.Target = "passthrough:///agent"
		options.DialOptions = []grpc.DialOption{n.dialOption()}
		pool, err := agentpool.New(options)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		served := make(chan error)
		go func() { served <- pool.Serve(ctx) }()
		test(t, pool, n)
		stop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if _, open := n.counts(); open != 0 {
			t.Errorf("the closed pool has %d connections", open)
		}
	})
}

// openStream opens one and waits for its connection.
func openStream(t *testing.T, p *agentpool.Pool, userAgent string) (stream relay.Stream, end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := p.Agent(grant.Target{}, userAgent).Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cancel)
	return stream, cancel
}

func TestStreamsShareAConnectionUntilItIsFull(t *testing.T) {
	inPool(t, agentpool.Options{StreamsPerConnection: 3}, func(t *testing.T, p *agentpool.Pool, n *network) {
		want := func(wantDialled int) {
			t.Helper()
			if dialled, _ := n.counts(); dialled != wantDialled {
				t.Errorf("%d connections, want %d", dialled, wantDialled)
			}
		}
		_, end := openStream(t, p, "")
		openStream(t, p, "")
		openStream(t, p, "")
		want(1)
		openStream(t, p, "")
		want(2)
		end()
		synctest.Wait()
		openStream(t, p, "") // in the place that has become free
		openStream(t, p, "")
		openStream(t, p, "")
		want(2)
		openStream(t, p, "")
		want(3)
	})
}

func TestByDefaultAConnectionCarries100Streams(t *testing.T) {
	inPool(t, agentpool.Options{}, func(t *testing.T, p *agentpool.Pool, n *network) {
		for range 100 {
			openStream(t, p, "")
		}
		if dialled, _ := n.counts(); dialled != 1 {
			t.Errorf("100 streams have %d connections", dialled)
		}
		openStream(t, p, "")
		if dialled, _ := n.counts(); dialled != 2 {
			t.Errorf("101 streams have %d connections", dialled)
		}
	})
}

// A server, or a proxy before it, may take fewer streams on a connection than the pool thinks.
func TestAServersOwnLimitOpensFurtherConnections(t *testing.T) {
	three := []grpc.ServerOption{grpc.MaxConcurrentStreams(3)}
	inPoolWithServer(t, agentpool.Options{}, three, func(t *testing.T, p *agentpool.Pool, n *network) {
		begun := time.Now()
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() { openStream(t, p, "") })
		}
		all.Wait()
		if took := time.Since(begun); took > 2*time.Second {
			t.Errorf("20 streams, 3 on each connection, were opened in %v", took)
		}
		if dialled, _ := n.counts(); dialled != 7 {
			t.Errorf("20 streams, 3 on each, have %d connections", dialled)
		}
		if stats := p.Stats(); stats.Streams != 20 || stats.Connections != 7 {
			t.Errorf("the pool counts %+v", stats)
		}

		begun = time.Now()
		openStream(t, p, "")
		openStream(t, p, "")
		openStream(t, p, "other") // knows the limit too
		if took := time.Since(begun); took > 0 {
			t.Errorf("with the limit known, streams waited for %v", took)
		}
		if dialled, _ := n.counts(); dialled != 9 {
			t.Errorf("%d connections, want 8, and one for the other user agent", dialled)
		}
	})
}

// serveNoStreams is an HTTP/2 server with MAX_CONCURRENT_STREAMS 0.
func serveNoStreams(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			_, _ = conn.Write([]byte{0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0}) // SETTINGS
			_, _ = conn.Write([]byte{0, 0, 0, 4, 1, 0, 0, 0, 0})                   // its acknowledgement of the client's
			_, _ = io.Copy(io.Discard, conn)
		}()
	}
}

// Another connection would be no better: the stream waits for as long as its session lets it.
func TestAServerThatTakesNoStreamIsNotDialledAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{Network: actorstest.NewNetwork()}
		go serveNoStreams(n.Network)
		defer n.Network.Close()
		pool, err := agentpool.New(agentpool.Options{Target: "passthrough:///agent", DialOptions: []grpc.DialOption{n.dialOption()}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		_, err = pool.Agent(grant.Target{}, "").Open(ctx)
		wantCloseError(t, err, 1011, "agent error: DEADLINE_EXCEEDED")
		if dialled, _ := n.counts(); dialled != 1 {
			t.Errorf("a stream that waited has %d connections", dialled)
		}
		if stats := pool.Stats(); stats.Streams != 0 {
			t.Errorf("the pool counts %+v", stats)
		}
		if err := pool.Serve(ctx); err != nil {
			t.Error(err)
		}
	})
}

// instances are the servers of one agent, by address.
type instances map[string]*instance

type instance struct {
	*actorstest.Network
	server *grpc.Server
	mu     sync.Mutex
	open   int
}

func (i *instance) start() {
	i.Network = actorstest.NewNetwork()
	i.server = grpc.NewServer(grpc.WaitForHandlers(true))
	dap.RegisterDuoWorkflowServer(i.server, counting{instance: i})
	go i.server.Serve(i.Network)
}

// counting is an agent that counts its streams.
type counting struct {
	dap.UnimplementedDuoWorkflowServer
	instance *instance
}

func (c counting) ExecuteWorkflow(stream dap.DuoWorkflow_ExecuteWorkflowServer) error {
	c.instance.add(1)
	defer c.instance.add(-1)
	return agent{}.ExecuteWorkflow(stream)
}

func (i *instance) add(n int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.open += n
}

func (i *instance) streams() int {
	synctest.Wait()
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.open
}

func (all instances) dialOption() grpc.DialOption {
	return grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		if all[address] == nil {
			return nil, errors.New("no route to " + address)
		}
		return all[address].Dial(ctx)
	})
}

func TestStreamsGoToAllAddressesOfAnAgentAndToNoneThatIsGone(t *testing.T) {
	a, b := resolver.Address{Addr: "10.0.0.1:1"}, resolver.Address{Addr: "10.0.0.2:1"}
	for _, target := range []string{"ipv4:10.0.0.1:1,10.0.0.2:1", "ipv4:///10.0.0.1:1,10.0.0.2:1", "dns:///agent.example:1"} {
		t.Run(target, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				one, two := &instance{}, &instance{}
				one.start()
				two.start()
				defer func() { one.server.Stop(); two.server.Stop() }()
				dns := manual.NewBuilderWithScheme("dns")
				dns.InitialState(resolver.State{Addresses: []resolver.Address{a, b}})
				pool, err := agentpool.New(agentpool.Options{Target: target, DialOptions: []grpc.DialOption{
					instances{a.Addr: one, b.Addr: two}.dialOption(), grpc.WithResolvers(dns),
				}})
				if err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(context.Background())
				defer func() { stop(); _ = pool.Serve(ctx) }()

				openStream(t, pool, "")
				time.Sleep(time.Second) // both are connected
				for range 20 {
					openStream(t, pool, "")
				}
				if one.streams() < 8 || two.streams() < 8 {
					t.Errorf("%d and %d streams", one.streams(), two.streams())
				}
				before := two.streams()
				one.server.Stop()
				synctest.Wait()
				for range 10 {
					openStream(t, pool, "")
				}
				if one.streams() != 0 || two.streams() != before+10 {
					t.Errorf("with the first gone, %d and %d streams", one.streams(), two.streams())
				}
				one.start()
				time.Sleep(10 * time.Second) // the pool tries again every 5 s at least
				for range 10 {
					openStream(t, pool, "")
				}
				if one.streams() < 4 {
					t.Errorf("with the first back, it has %d streams", one.streams())
				}
			})
		})
	}
}

func TestAStreamThatFailsToOpenGivesItsPlaceBack(t *testing.T) {
	inPool(t, agentpool.Options{StreamsPerConnection: 1}, func(t *testing.T, p *agentpool.Pool, n *network) {
		for range 3 {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			if stream, err := p.Agent(grant.Target{}, "").Open(ctx); err == nil {
				if _, err = stream.Receive(); err == nil {
					t.Error("a cancelled stream lives")
				}
			}
			synctest.Wait()
		}
		openStream(t, p, "")
		if dialled, _ := n.counts(); dialled > 1 {
			t.Errorf("one stream at a time took %d connections", dialled)
		}
	})
}

func TestAConnectionThatIdlesIsClosed(t *testing.T) {
	inPool(t, agentpool.Options{IdleTimeout: time.Minute}, func(t *testing.T, p *agentpool.Pool, n *network) {
		_, end := openStream(t, p, "")
		end()
		time.Sleep(59 * time.Second)
		_, end = openStream(t, p, "") // in time: its minute begins anew
		end()
		time.Sleep(59 * time.Second)
		_, end = openStream(t, p, "") // and now it doesn't idle
		time.Sleep(time.Hour)
		if dialled, open := n.counts(); dialled != 1 || open != 1 {
			t.Errorf("in use: %d connections opened, %d open", dialled, open)
		}
		end()
		time.Sleep(59 * time.Second)
		if _, open := n.counts(); open != 1 {
			t.Error("closed before its time")
		}
		time.Sleep(2 * time.Second)
		if _, open := n.counts(); open != 0 {
			t.Error("not closed after a minute")
		}
		openStream(t, p, "")
		if dialled, open := n.counts(); dialled != 2 || open != 1 {
			t.Errorf("again in use: %d connections opened, %d open", dialled, open)
		}
	})
}

func TestAClosedPoolOpensNoStream(t *testing.T) {
	inPool(t, agentpool.Options{}, func(t *testing.T, p *agentpool.Pool, n *network) {
		stream, _ := openStream(t, p, "")
		done, cancel := context.WithCancel(context.Background())
		cancel()
		if err := p.Serve(done); err != nil {
			t.Error(err)
		}
		if _, err := stream.Receive(); err == nil {
			t.Error("its streams live on")
		}
		_, err := p.Agent(grant.Target{}, "").Open(t.Context())
		wantCloseError(t, err, 1001, "agent unavailable")
	})
}

func wantCloseError(t *testing.T, err error, code int, reason string) {
	t.Helper()
	var closeErr *actors.CloseError
	if !errors.As(err, &closeErr) || closeErr.Code != code || closeErr.Reason != reason {
		t.Errorf("got %v, want a close error with %d %q", err, code, reason)
	}
}

// Clients choose their user agent: one that makes up a new one each time must not cost a connection
// each time.
func TestUserAgentsCanCauseOnlySoManyConnections(t *testing.T) {
	inPool(t, agentpool.Options{}, func(t *testing.T, p *agentpool.Pool, n *network) {
		for i := range 150 {
			openStream(t, p, fmt.Sprint("client/", i))
		}
		if dialled, _ := n.counts(); dialled != 101 {
			t.Errorf("%d connections, want 100 and the one for all others", dialled)
		}
		openStream(t, p, "client/7") // is known
		if dialled, _ := n.counts(); dialled != 101 {
			t.Errorf("%d connections", dialled)
		}
	})
}

func TestEachUserAgentHasConnectionsOfItsOwn(t *testing.T) {
	inPool(t, agentpool.Options{}, func(t *testing.T, p *agentpool.Pool, n *network) {
		for _, userAgent := range []string{"a", "b", "a", "b", ""} {
			openStream(t, p, userAgent)
		}
		if dialled, _ := n.counts(); dialled != 3 {
			t.Errorf("three user agents have %d connections", dialled)
		}
	})
}

func TestKeepalivesByDefaultAreToleratedByAStockServer(t *testing.T) {
	live := func(t *testing.T, keepalive time.Duration) error {
		var ended error
		inPool(t, agentpool.Options{Keepalive: keepalive}, func(t *testing.T, p *agentpool.Pool, _ *network) {
			stream, end := openStream(t, p, "")
			over := make(chan error, 1)
			go func() {
				_, err := stream.Receive()
				over <- err
			}()
			time.Sleep(5 * time.Hour)
			select {
			case ended = <-over:
			default:
				end()
				<-over
			}
		})
		return ended
	}
	if err := live(t, 0); err != nil {
		t.Errorf("the stream ended: %v", err)
	}
	if err := live(t, 20*time.Second); err == nil || !strings.Contains(err.Error(), "too_many_pings") {
		t.Errorf("pinged every 20 s, the server says %v", err)
	}
}

func TestTheConnectionsCanBeEncrypted(t *testing.T) {
	loan := httptest.NewTLSServer(nil)
	certificates, trusted := loan.TLS.Certificates, x509.NewCertPool()
	trusted.AddCert(loan.Certificate())
	loan.Close()

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewServerTLSFromCert(&certificates[0])))
	dap.RegisterDuoWorkflowServer(server, dap.UnimplementedDuoWorkflowServer{})
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		server.Stop()
		<-served
	}()
	address := listener.Addr().String()
	calling := func(target string, granted grant.Target, config *tls.Config) error {
		pool, err := agentpool.New(agentpool.Options{Target: target, TLS: config})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer func() {
			cancel()
			_ = pool.Serve(ctx)
		}()
		stream, err := pool.Agent(granted, "").Open(ctx)
		if err != nil {
			return err
		}
		_, err = stream.Receive()
		return err
	}
	call := func(config *tls.Config) error { return calling(address, grant.Target{}, config) }
	reached := "agent error: " + strings.ToUpper(codes.Unimplemented.String())
	wantCloseError(t, call(&tls.Config{RootCAs: trusted}), 1011, reached)
	wantCloseError(t, call(&tls.Config{}), 1001, "agent unavailable") // no authority signed it
	wantCloseError(t, call(nil), 1001, "agent unavailable")           // plaintext

	// The certificate is for 127.0.0.1 and example.com.
	named, misnamed := &tls.Config{RootCAs: trusted, ServerName: "example.com"}, &tls.Config{RootCAs: trusted, ServerName: "other.example"}
	wantCloseError(t, call(named), 1011, reached)
	wantCloseError(t, call(misnamed), 1001, "agent unavailable")
	list := "ipv4:" + address + ",127.0.0.1:1"
	wantCloseError(t, calling(list, grant.Target{}, &tls.Config{RootCAs: trusted}), 1011, reached)
	wantCloseError(t, calling(list, grant.Target{}, named), 1011, reached)
	wantCloseError(t, calling(list, grant.Target{}, misnamed), 1001, "agent unavailable")
	// A granted agent has a name of its own.
	wantCloseError(t, calling("own.example:1", grant.Target{Address: address, TLS: true}, misnamed), 1011, reached)
}

func TestATargetThatDoesntParseIsAnErrorAtOnce(t *testing.T) {
	for _, target := range []string{"", "%zz", "a\x7f", "dns:///", "host:1:2", "host:", "http://agent:1", "grpc://agent:1", "127.0.0.1:99999", "ipv4:", "ipv4:agent:1", "ipv4:10.0.0.1:1,", "ipv6:10.0.0.1:1"} {
		pool, err := agentpool.New(agentpool.Options{Target: target})
		if err == nil {
			t.Errorf("%q is a target", target)
			continue
		}
		if pool != nil || !strings.Contains(err.Error(), "agent target") {
			t.Errorf("%q: %v %v", target, pool, err)
		}
	}
	for _, target := range []string{"agent", "agent:443", "agent:https", "10.0.0.1:1", "[::1]:1", "::1", "dns:///agent:1", "dns:agent:1", "unix:/run/agent", "passthrough:///what:ever", "ipv4:10.0.0.1:1,10.0.0.2:1", "ipv6:[::1]:1,[::2]:1"} {
		if _, err := agentpool.New(agentpool.Options{Target: target}); err != nil {
			t.Error(err)
		}
	}
}
