package discovery

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/test"
	manet "github.com/multiformats/go-multiaddr/net"
	"go.uber.org/goleak"

	"github.com/shoal-project/shoal/p2p"
	"github.com/shoal-project/shoal/p2p/admission"
	"github.com/shoal-project/shoal/pkg/blob"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type node struct {
	*Discovery
	host *p2p.Host
	stop func()
}

func start(t *testing.T, secret admission.Secret, config Config, hostConfig p2p.Config) node {
	t.Helper()
	if hostConfig.Listen == nil {
		hostConfig.Listen = []string{"/ip4/127.0.0.1/tcp/0"}
	}
	if !secret.IsZero() {
		hostConfig.Secrets = []admission.Secret{secret}
	}
	host, err := p2p.New(hostConfig)
	if err != nil {
		t.Fatal(err)
	}
	config.Host = host
	if config.RetryFrom == 0 {
		config.RetryFrom, config.RetryUpTo = 20*time.Millisecond, 400*time.Millisecond
	}
	d, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	n := node{Discovery: d, host: host, stop: sync.OnceFunc(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	})}
	t.Cleanup(n.stop)
	return n
}

// hostPort is what a person writes to reach the node: no peer ID.
func (n node) hostPort(t *testing.T) string {
	t.Helper()
	_, hostPort, err := manet.DialArgs(n.host.Addrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	return hostPort
}

// eventually polls, because the DHT offers nothing to wait on.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		}
	}
}

func swarm(t *testing.T, n int, config Config) []node {
	t.Helper()
	secret := admission.GenerateSecret()
	nodes := make([]node, 0, n)
	nodes = append(nodes, start(t, secret, config, p2p.Config{}))
	for range n - 1 {
		c := config
		c.Bootstrap = []string{nodes[0].hostPort(t)}
		nodes = append(nodes, start(t, secret, c, p2p.Config{}))
	}
	for _, node := range nodes {
		eventually(t, "every node has neighbours in the DHT", func() bool { return node.Neighbours() >= min(n-1, 2) })
	}
	return nodes
}

func find(ctx context.Context, n node, key blob.Digest, limit int) []peer.ID {
	var ids []peer.ID
	for info := range n.Find(ctx, key, limit) {
		ids = append(ids, info.ID)
	}
	return ids
}

func TestProvideAndFind(t *testing.T) {
	nodes := swarm(t, 6, Config{})
	key := keyNumber(1)
	if got := find(t.Context(), nodes[3], key, 10); len(got) != 0 {
		t.Errorf("found %v before anybody had it", got)
	}
	for _, n := range nodes[1:3] {
		for range 2 { // twice is once
			if !n.Provide(key) || n.Announced() != 1 {
				t.Error("Provide failed")
			}
		}
	}
	for _, n := range nodes {
		eventually(t, "everybody finds both", func() bool {
			got := find(t.Context(), n, key, 10)
			want := 2
			if n.host == nodes[1].host || n.host == nodes[2].host {
				want = 1 // not itself
			}
			if slices.Contains(got, n.host.ID()) {
				t.Error("a node found itself")
			}
			slices.Sort(got)
			if len(slices.Compact(slices.Clone(got))) != len(got) {
				t.Error("a peer came twice")
			}
			return len(got) == want
		})
	}
	if got := find(t.Context(), nodes[4], key, 1); len(got) != 1 {
		t.Errorf("with limit 1: %v", got)
	}
	for info := range nodes[4].Find(t.Context(), key, 10) {
		if len(info.Addrs) == 0 {
			t.Errorf("%s has no address", info.ID)
		}
		break // leaving early is fine
	}
	if got := find(t.Context(), nodes[4], key, 0); len(got) != 0 {
		t.Errorf("with limit 0: %v", got)
	}
	nodes[4].host.Block(nodes[1].host.ID(), time.Hour)
	if got := find(t.Context(), nodes[4], key, 10); slices.Contains(got, nodes[1].host.ID()) {
		t.Error("a blocked peer was found")
	}
}

// Two nodes are a swarm, and find each other's content in no time.
func TestTinySwarmIsQuick(t *testing.T) {
	nodes := swarm(t, 2, Config{})
	key := keyNumber(1)
	nodes[0].Provide(key)
	started := time.Now()
	eventually(t, "the other finds it", func() bool { return len(find(t.Context(), nodes[1], key, 20)) == 1 })
	if d := time.Since(started); d > 2*time.Second {
		t.Errorf("it took %s", d)
	}
}

func TestRecordsRunOutUnlessAnnouncedAgain(t *testing.T) {
	nodes := swarm(t, 3, Config{Validity: 2 * time.Second})
	kept, gone := keyNumber(1), keyNumber(2)
	nodes[0].Provide(kept)
	nodes[0].Provide(gone)
	for _, key := range []blob.Digest{kept, gone} {
		eventually(t, "both are found", func() bool { return len(find(t.Context(), nodes[2], key, 5)) == 1 })
	}
	nodes[0].Withdraw(gone)
	if nodes[0].Announced() != 1 {
		t.Error("a withdrawn key is still announced")
	}
	eventually(t, "the withdrawn key runs out", func() bool { return len(find(t.Context(), nodes[2], gone, 5)) == 0 })
	// By now the other's first record has run out as well: it was announced again.
	if got := find(t.Context(), nodes[2], kept, 5); len(got) != 1 {
		t.Errorf("found %v", got)
	}
}

func TestManyKeys(t *testing.T) {
	nodes := swarm(t, 4, Config{MaxKeys: 300})
	for i := range 300 {
		if !nodes[0].Provide(keyNumber(i)) {
			t.Fatal("too many keys")
		}
	}
	if nodes[0].Provide(keyNumber(300)) {
		t.Error("the limit is not kept")
	}
	for i := range 300 {
		eventually(t, "each is found", func() bool { return len(find(t.Context(), nodes[1+i%3], keyNumber(i), 1)) == 1 })
	}
}

func TestMemberLeaves(t *testing.T) {
	nodes := swarm(t, 5, Config{Validity: 3 * time.Second})
	key := keyNumber(1)
	nodes[1].Provide(key)
	eventually(t, "it is found", func() bool { return len(find(t.Context(), nodes[4], key, 5)) == 1 })
	nodes[1].stop()
	eventually(t, "it is forgotten", func() bool { return len(find(t.Context(), nodes[4], key, 5)) == 0 })
	nodes[2].Provide(key)
	eventually(t, "another is found", func() bool { return slices.Equal(find(t.Context(), nodes[4], key, 5), []peer.ID{nodes[2].host.ID()}) })
}

func TestLocate(t *testing.T) {
	nodes := swarm(t, 4, Config{})
	for _, n := range nodes[1:] {
		info, err := nodes[1].Locate(t.Context(), n.host.ID())
		if err != nil || len(info.Addrs) == 0 {
			t.Errorf("%v, %v", info, err)
		}
	}
	if info, err := nodes[1].Locate(t.Context(), test.RandPeerIDFatal(t)); !errors.Is(err, ErrUnknown) {
		t.Errorf("%v, %v", info, err)
	}
}

func TestBootstrapByName(t *testing.T) {
	secret := admission.GenerateSecret()
	a := start(t, secret, Config{}, p2p.Config{})
	_, port, err := net.SplitHostPort(a.hostPort(t))
	if err != nil {
		t.Fatal(err)
	}
	// Of all the addresses only one has a node behind it.
	dns := names{"swarm.example": {"127.0.0.3", "127.0.0.2", "127.0.0.1"}}
	b := start(t, secret, Config{Bootstrap: []string{"swarm.example:" + port}, Resolver: dns}, p2p.Config{})
	eventually(t, "they met", func() bool { return a.host.Count() == 1 && b.host.Count() == 1 })
}

// A headless Service lists its own pod first and the others once they are ready.
func TestBootstrapAgainUntilSomebodyIsThere(t *testing.T) {
	secret := admission.GenerateSecret()
	free, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, ok := free.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatal("no TCP address")
	}
	later := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	a := start(t, secret, Config{Bootstrap: []string{later}}, p2p.Config{})
	if a.host.Count() != 0 {
		t.Fatal("it is not alone")
	}
	b := start(t, secret, Config{Bootstrap: []string{later}}, p2p.Config{Listen: []string{"/ip4/127.0.0.1/tcp/" + strconv.Itoa(tcp.Port)}})
	eventually(t, "they met", func() bool { return a.host.Count() == 1 && b.host.Count() == 1 })
	// Alone again, it looks again.
	b.stop()
	eventually(t, "it is alone", func() bool { return a.host.Count() == 0 })
	start(t, secret, Config{}, p2p.Config{Listen: []string{"/ip4/127.0.0.1/tcp/" + strconv.Itoa(tcp.Port)}})
	eventually(t, "it has company", func() bool { return a.host.Count() == 1 })
}

func TestBootstrapFromKnownPeers(t *testing.T) {
	secret := admission.GenerateSecret()
	dir := t.TempDir()
	a := start(t, secret, Config{}, p2p.Config{})
	b := start(t, secret, Config{DataDir: dir, Bootstrap: []string{a.hostPort(t)}}, p2p.Config{DataDir: dir})
	eventually(t, "they met", func() bool { return b.Neighbours() == 1 })
	b.stop()
	eventually(t, "a is alone", func() bool { return a.host.Count() == 0 })
	again := start(t, secret, Config{DataDir: dir}, p2p.Config{DataDir: dir})
	eventually(t, "they met again", func() bool { return again.host.Count() == 1 })
	if again.host.ID() != b.host.ID() {
		t.Error("the identity changed")
	}
}

// A node that is alone again dials whom it remembers, but not those whose addresses ran out.
func TestRemembersOnlyWhoHasAnAddress(t *testing.T) {
	n := start(t, admission.GenerateSecret(), Config{}, p2p.Config{})
	store := n.host.Host().Peerstore()
	known, lost := test.RandPeerIDFatal(t), test.RandPeerIDFatal(t)
	store.AddAddrs(known, n.host.Addrs(), time.Hour)
	store.AddAddrs(lost, n.host.Addrs(), time.Nanosecond)
	eventually(t, "its address runs out", func() bool { return len(store.Addrs(lost)) == 0 })
	if got := n.remembered(); len(got) != 1 || got[0].id != known || len(got[0].addrs) == 0 {
		t.Errorf("it remembers %v", got)
	}
}

func TestOutsiderIsNotAdopted(t *testing.T) {
	a := start(t, admission.GenerateSecret(), Config{}, p2p.Config{})
	var log syncBuffer
	b := start(t, admission.GenerateSecret(), Config{Bootstrap: []string{a.hostPort(t)}}, p2p.Config{})
	c := start(t, admission.GenerateSecret(), Config{Bootstrap: []string{a.hostPort(t)}, Logger: slog.New(slog.NewTextHandler(&log, nil))}, p2p.Config{})
	eventually(t, "it says why", func() bool { return log.contains("is the secret the same") })
	if a.host.Count()+b.host.Count()+c.host.Count() != 0 {
		t.Error("strangers became members")
	}
}

// Islands that formed on their own grow together through a common bootstrap address.
func TestIslandsGrowTogether(t *testing.T) {
	secret := admission.GenerateSecret()
	config := Config{Meet: 300 * time.Millisecond}
	a1 := start(t, secret, config, p2p.Config{})
	b1 := start(t, secret, config, p2p.Config{})
	config.Bootstrap = []string{a1.hostPort(t)}
	start(t, secret, config, p2p.Config{})
	// b2 knows both, but a1 only later: it has met b1 before.
	dns := &lateNames{}
	_, portA, err := net.SplitHostPort(a1.hostPort(t))
	if err != nil {
		t.Fatal(err)
	}
	config.Bootstrap = []string{b1.hostPort(t), "late.example:" + portA}
	config.Resolver = dns
	b2 := start(t, secret, config, p2p.Config{})
	eventually(t, "the second island", func() bool { return b2.host.Count() == 1 })
	dns.mu.Lock()
	dns.names = names{"late.example": {"127.0.0.1"}}
	dns.mu.Unlock()
	key := keyNumber(1)
	b1.Provide(key)
	eventually(t, "one swarm", func() bool { return len(find(t.Context(), a1, key, 5)) == 1 })
}

func TestOwnAddressIsNoTrouble(t *testing.T) {
	secret := admission.GenerateSecret()
	free, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, ok := free.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatal("no TCP address")
	}
	_ = free.Close()
	var log syncBuffer
	a := start(t, secret, Config{Bootstrap: []string{tcp.String()}, Logger: slog.New(slog.NewTextHandler(&log, nil))},
		p2p.Config{Listen: []string{"/ip4/127.0.0.1/tcp/" + strconv.Itoa(tcp.Port)}})
	b := start(t, secret, Config{Bootstrap: []string{tcp.String()}}, p2p.Config{})
	eventually(t, "they met", func() bool { return a.host.Count() == 1 && b.host.Count() == 1 })
	if log.contains("same") {
		t.Error("its own address is reported as a stranger")
	}
}

func TestAlone(t *testing.T) {
	a := start(t, admission.Secret{}, Config{Bootstrap: []string{"127.0.0.1:1"}}, p2p.Config{})
	if !a.Provide(keyNumber(1)) || len(find(t.Context(), a, keyNumber(1), 5)) != 0 || a.Neighbours() != 0 {
		t.Error("alone, it found somebody")
	}
	a.Withdraw(keyNumber(1))
	if _, err := a.Locate(t.Context(), "x"); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
}

func TestConfigRefuses(t *testing.T) {
	host := start(t, admission.Secret{}, Config{}, p2p.Config{}).host
	for _, bad := range []Config{
		{},
		{Host: host, Bootstrap: []string{"x"}},
		{Host: host, MaxKeys: -1},
		{Host: host, Validity: -1},
		{Host: host, Bootstrap: make([]string, maxSources+1)},
	} {
		if d, err := New(bad); err == nil {
			t.Errorf("%+v is valid", bad)
			_ = d.Close()
		}
	}
}

type lateNames struct {
	mu    sync.Mutex
	names names
}

func (l *lateNames) LookupNetIP(ctx context.Context, network, host string) (ips []netipAddr, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.names.LookupNetIP(ctx, network, host)
}
