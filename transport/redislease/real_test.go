package redislease_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/lastcall-go/lastcall/actors/relay"
	"github.com/lastcall-go/lastcall/transport/lease/leasetest"
	"github.com/lastcall-go/lastcall/transport/porttest"
	"github.com/lastcall-go/lastcall/transport/redislease"
)

// startServer starts a real server, and skips the test where none is installed. Where it must be,
// the test fails.
func startServer(t *testing.T, args ...string) *process {
	t.Helper()
	binary := serverBinary()
	if binary == "" && (os.Getenv("CI") == "true" || os.Getenv("LASTCALL_REQUIRE_REDIS") == "1") {
		t.Fatal("redis-server is not installed")
	}
	if binary == "" {
		t.Skip("redis-server is not installed")
	}
	p := &process{binary: binary, address: porttest.Address(t), args: args}
	p.start(t)
	t.Cleanup(func() { p.stop(t) })
	return p
}

// open makes a store that is not served yet.
func open(t *testing.T, o redislease.Options) *redislease.Store {
	t.Helper()
	store, err := redislease.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhatTheServerRefusesIsRefusedAtStart(t *testing.T) {
	t.Parallel()
	authority := newAuthority(t)
	protected := startServer(t, "--requirepass", "s3cret")
	plain := startServer(t)
	replica := startServer(t, "--replicaof", "127.0.0.1 "+plain.port())
	node := startCluster(t)[0]
	empty := startServer(t, "--cluster-enabled", "yes")
	secure := startServer(t, authority.serverArgs(t)...)
	limited := admin(t, plain)
	must(t, limited.Do(t.Context(), "ACL", "SETUSER", "limited", "on", ">s3cret", "~lastcall:lease:*", "+eval", "+get", "+set", "+del", "+time").Err())
	must(t, limited.Do(t.Context(), "ACL", "SETUSER", "timeless", "on", ">s3cret", "~*", "+@all", "-time").Err())
	must(t, limited.Do(t.Context(), "ACL", "SETUSER", "keyless", "on", ">s3cret", "~other:*", "+@all").Err())
	for name, test := range map[string]struct {
		url     string
		tls     *tls.Config
		refused string // empty: it works
	}{
		"password":           {url: "redis://:s3cret@" + protected.addr()},
		"wrong password":     {url: "redis://:wr0ng@" + protected.addr(), refused: "WRONGPASS"},
		"no password":        {url: "redis://" + protected.addr(), refused: "NOAUTH"},
		"needless password":  {url: "redis://:s3cret@" + plain.addr()},
		"database":           {url: "redis://" + plain.addr() + "/15"},
		"no such database":   {url: "redis://" + plain.addr() + "/99", refused: "DB index"},
		"few rights":         {url: "redis://limited:s3cret@" + plain.addr()},
		"too few rights":     {url: "redis://timeless:s3cret@" + plain.addr(), refused: "can't run this command"},
		"rights to no key":   {url: "redis://keyless:s3cret@" + plain.addr(), refused: "key"},
		"replica":            {url: "redis://" + replica.addr(), refused: "read only replica"},
		"node of a cluster":  {url: "redis://" + node.addr(), refused: "node of a cluster"},
		"node without slots": {url: "redis://" + empty.addr(), refused: "node of a cluster"},
		"no cluster":         {url: "redis+cluster://" + plain.addr(), refused: "cluster support disabled"},
		"no sentinel":        {url: "redis+sentinel://" + plain.addr() + "/master", refused: "unknown command"},
		"TLS":                {url: "rediss://" + secure.addr(), tls: authority.client(t)},
		"TLS against plain":  {url: "rediss://" + plain.addr(), tls: authority.client(t), refused: "speaks no TLS"},
		"TLS without the CA": {url: "rediss://" + secure.addr(), refused: "certificate"},
		"no client's":        {url: "rediss://" + secure.addr(), tls: &tls.Config{RootCAs: authority.pool}, refused: "certificate"},
		"plain against TLS":  {url: "redis://" + secure.addr(), refused: "speaks TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := open(t, redislease.Options{URL: test.url, TLS: test.tls})
			defer run(t, store)()
			err := store.Check(t.Context())
			if got := store.Stats(); got.Reachable != (err == nil) || got.Since.IsZero() {
				t.Errorf("stats %+v", got)
			}
			if test.refused == "" {
				must(t, err)
				leasetest.Release(t, leasetest.Acquire(t, store, "w"))
				return
			}
			if !errors.Is(err, redislease.ErrRefused) || !strings.Contains(err.Error(), test.refused) || strings.Contains(err.Error(), "wr0ng") {
				t.Errorf("Check: %v, want a refusal that says %q", err, test.refused)
			}
		})
	}
}

func TestWhatIsUnreachableIsNoRefusal(t *testing.T) {
	t.Parallel()
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer deaf.Close()
	const unused = "127.0.0.1:1"
	for _, url := range []string{
		"redis://" + unused,
		"rediss://" + unused,
		"redis://" + deaf.Addr().String(),
		"rediss://" + deaf.Addr().String(),
		"redis://" + unused + "," + unused,
		"redis+sentinel://" + unused + "/master",
		"redis+unix://" + filepath.Join(t.TempDir(), "none.sock"),
	} {
		t.Run(url, func(t *testing.T) {
			t.Parallel()
			store := open(t, redislease.Options{URL: url})
			defer run(t, store)()
			begin := time.Now()
			err := store.Check(t.Context())
			if err == nil || errors.Is(err, redislease.ErrRefused) {
				t.Errorf("Check: %v", err)
			}
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("Check took %v", took)
			}
		})
	}
}

func TestAUnixSocketAndTLSWithAClientCertificateKeepTheContract(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "redis") // a socket's path is short
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	startServer(t, "--unixsocket", socket)
	authority := newAuthority(t)
	secure := startServer(t, authority.serverArgs(t)...)
	for url, config := range map[string]*tls.Config{
		"redis+unix://" + socket + "?db=3": nil,
		"unix://" + socket:                 nil,
		"rediss://" + secure.addr() + "/3": authority.client(t),
	} {
		t.Run(url, func(t *testing.T) {
			t.Parallel()
			o := redislease.Options{URL: url, TLS: config, TTL: time.Hour, Failure: redislease.FailClosed}
			a, b := open(t, o), open(t, o)
			run(t, a)
			run(t, b)
			must(t, a.Check(t.Context()))
			leasetest.Run(t, a, b)
		})
	}
}

// authority signs certificates for 127.0.0.1.
type authority struct {
	pool *x509.CertPool
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{pool: x509.NewCertPool()}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.pem, _, a.key = a.sign(t, a.cert)
	block, _ := pem.Decode(a.pem)
	var err error
	a.cert, err = x509.ParseCertificate(block.Bytes)
	must(t, err)
	a.pool.AddCert(a.cert)
	return a
}

// sign signs by the authority, or the authority's own certificate.
func (a *authority) sign(t *testing.T, template *x509.Certificate) (cert, key []byte, private *ecdsa.PrivateKey) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	signer := a.key
	if signer == nil {
		signer = private
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &private.PublicKey, signer)
	must(t, err)
	secret, err := x509.MarshalECPrivateKey(private)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: secret}), private
}

func (a *authority) leaf(t *testing.T) (cert, key []byte) {
	cert, key, _ = a.sign(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	return cert, key
}

// serverArgs are of a server that wants client certificates.
func (a *authority) serverArgs(t *testing.T) []string {
	dir := t.TempDir()
	cert, key := a.leaf(t)
	for name, text := range map[string][]byte{"ca": a.pem, "cert": cert, "key": key} {
		must(t, os.WriteFile(filepath.Join(dir, name), text, 0o600))
	}
	return []string{
		"--tls-ca-cert-file", filepath.Join(dir, "ca"), "--tls-cert-file", filepath.Join(dir, "cert"), "--tls-key-file", filepath.Join(dir, "key"),
	}
}

func (a *authority) client(t *testing.T) *tls.Config {
	cert, key := a.leaf(t)
	pair, err := tls.X509KeyPair(cert, key)
	must(t, err)
	return &tls.Config{RootCAs: a.pool, Certificates: []tls.Certificate{pair}}
}

// startCluster starts three masters that have a third of the slots each.
func startCluster(t *testing.T) (nodes []*process) {
	t.Helper()
	for range 3 {
		nodes = append(nodes, startServer(t, "--cluster-enabled", "yes", "--cluster-require-full-coverage", "no", "--cluster-node-timeout", "2000"))
	}
	const slots, third = 16384, 16384/3 + 1
	for i, node := range nodes {
		root := admin(t, node)
		must(t, root.ClusterAddSlotsRange(t.Context(), i*third, min((i+1)*third, slots)-1).Err())
		must(t, root.ClusterMeet(t.Context(), "127.0.0.1", nodes[0].port()).Err())
	}
	for _, node := range nodes {
		root := admin(t, node)
		eventually(t, "the cluster is complete", func() bool {
			info := root.ClusterInfo(t.Context()).Val()
			return strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_slots_ok:16384") && strings.Contains(info, "cluster_known_nodes:3")
		})
	}
	return nodes
}

func TestAClusterKeepsTheContract(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t)
	o := redislease.Options{TTL: time.Hour, Failure: redislease.FailClosed}
	o.URL = "redis+cluster://" + nodes[0].addr()
	a := open(t, o)
	o.URL = "redis://" + nodes[1].addr() + "," + nodes[2].addr()
	b := open(t, o)
	run(t, a)
	run(t, b)
	must(t, a.Check(t.Context()))
	leasetest.Run(t, a, b)
}

func TestAClusterThatLosesANodeKeepsTheLeasesOfTheOthers(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t)
	store := open(t, redislease.Options{
		URL: "redis://" + nodes[0].addr() + "," + nodes[1].addr() + "," + nodes[2].addr(), TTL: 6 * time.Second, Failure: redislease.FailClosed,
	})
	run(t, store)
	const leases = 300
	lost := make(chan string, leases)
	for i := range leases {
		workflow := fmt.Sprint(i)
		_, err := store.Acquire(t.Context(), workflow, func(error) { lost <- workflow })
		must(t, err)
	}
	time.Sleep(8 * time.Second)
	if len(lost) > 0 {
		t.Fatalf("%d leases were lost in a cluster that is whole", len(lost))
	}
	there := admin(t, nodes[2]).DBSize(t.Context()).Val() / 2 // a lease and its token
	nodes[2].stop(t)
	time.Sleep(12 * time.Second)
	if there == 0 || there == leases || int64(len(lost)) != there {
		t.Errorf("%d of %d leases were lost with a node that had %d", len(lost), leases, there)
	}
	if got := store.Stats(); got.Held != leases-len(lost) {
		t.Errorf("stats %+v", got)
	}
}

// sentinels are a master with a replica, and three sentinels that watch them.
type sentinels struct {
	master, replica *process
	url             string
}

func startSentinels(t *testing.T) *sentinels {
	t.Helper()
	s := &sentinels{master: startServer(t)}
	s.replica = startServer(t, "--replicaof", "127.0.0.1 "+s.master.port())
	eventually(t, "the replica follows", func() bool {
		return strings.Contains(admin(t, s.replica).Info(t.Context(), "replication").Val(), "master_link_status:up")
	})
	var watching []string
	for range 3 {
		file := filepath.Join(t.TempDir(), "sentinel.conf")
		text := fmt.Sprintf("sentinel monitor main 127.0.0.1 %s 2\nsentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 5000\n", s.master.port())
		must(t, os.WriteFile(file, []byte(text), 0o600))
		sentinel := startServer(t, file, "--sentinel")
		watching = append(watching, sentinel.addr())
	}
	for _, address := range watching {
		root := redis.NewSentinelClient(&redis.Options{Addr: address})
		defer root.Close()
		eventually(t, "the sentinels see each other and the replica", func() bool {
			m := root.Master(t.Context(), "main").Val()
			return m["num-other-sentinels"] == "2" && m["num-slaves"] == "1" && m["flags"] == "master"
		})
	}
	s.url = "redis+sentinel://" + strings.Join(watching, ",") + "/main"
	return s
}

func TestAFailoverLosesNoLeaseThatTheNewMasterKnows(t *testing.T) {
	t.Parallel()
	s := startSentinels(t)
	unknown := open(t, redislease.Options{URL: strings.TrimSuffix(s.url, "main") + "other"})
	if err := unknown.Check(t.Context()); !errors.Is(err, redislease.ErrRefused) {
		t.Errorf("Check of a master that no sentinel knows: %v", err)
	}
	run(t, unknown)
	o := redislease.Options{URL: s.url, TTL: 20 * time.Second, Failure: redislease.FailClosed}
	a, b := open(t, o), open(t, o)
	run(t, a)
	run(t, b)
	must(t, a.Check(t.Context()))
	const leases = 50
	held := make(map[string]relay.Lease)
	for i := range leases {
		held[fmt.Sprint(i)] = leasetest.Acquire(t, a, fmt.Sprint(i)) // fails if it is lost
	}
	replica := admin(t, s.replica)
	eventually(t, "the replica knows the leases", func() bool { return replica.DBSize(t.Context()).Val() == 2*leases })
	s.master.stop(t)
	eventually(t, "the replica is the master", func() bool {
		return strings.Contains(replica.Info(context.Background(), "replication").Val(), "role:master")
	})
	eventually(t, "the store is reachable again", func() bool {
		got := a.Stats()
		return got.Reachable && time.Since(got.Since) < 20*time.Second && got.Failures > 0
	})
	time.Sleep(o.TTL + time.Second) // leases that the new master got are renewed there
	for workflow, lease := range held {
		leasetest.WantHeld(t, b, workflow)
		leasetest.Release(t, lease)
		leasetest.Release(t, leasetest.Acquire(t, b, workflow))
	}
}
