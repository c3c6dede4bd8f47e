package p2p

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"go.uber.org/goleak"

	"github.com/shoal-project/shoal/p2p/admission"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

const loopback = "/ip4/127.0.0.1/tcp/0"

func newHost(t *testing.T, config Config) *Host {
	t.Helper()
	if config.Listen == nil {
		config.Listen = []string{loopback}
	}
	h, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func secrets(n int) []admission.Secret {
	s := make([]admission.Secret, n)
	for i := range s {
		s[i] = admission.GenerateSecret()
	}
	return s
}

// counted waits until the host reports n members.
func counted(t *testing.T, h *Host, n int) {
	t.Helper()
	watch, stop := h.Watch()
	defer stop()
	timeout := time.NewTimer(20 * time.Second)
	defer timeout.Stop()
	for {
		select {
		case got, ok := <-watch:
			if !ok {
				t.Fatal("the watch ended")
			}
			if got == n {
				return
			}
		case <-timeout.C:
			t.Fatalf("there are %d members, want %d", h.Count(), n)
		}
	}
}

func dial(t *testing.T, from, to *Host) {
	t.Helper()
	p, err := from.Dial(t.Context(), to.Addrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	if p != to.ID() {
		t.Fatalf("%s answered, want %s", p, to.ID())
	}
}

func TestMembersComeAndGo(t *testing.T) {
	s := secrets(1)
	a := newHost(t, Config{Secrets: s, Version: "0.1.0", Zone: "eu-1a"})
	b := newHost(t, Config{Secrets: s, Version: "0.2.0"})
	dial(t, b, a)
	counted(t, a, 1)
	counted(t, b, 1)
	m := b.Members()
	if len(m) != 1 || m[0].ID != a.ID() || m[0].Zone != "eu-1a" || m[0].Version != "0.1.0" || len(m[0].Addrs) == 0 || m[0].Since.IsZero() {
		t.Errorf("members = %+v", m)
	}
	if b.Zone(a.ID()) != "eu-1a" || a.Zone(a.ID()) != "eu-1a" || b.Zone("nobody") != "" {
		t.Error("zones are wrong")
	}
	if err := b.Host().Network().ClosePeer(a.ID()); err != nil {
		t.Fatal(err)
	}
	counted(t, a, 0)
	counted(t, b, 0)
	if m := a.Members(); len(m) != 0 {
		t.Errorf("members = %+v", m)
	}
}

// The door knows a connection from its accept to its admission.
func TestMembersLeaveTheDoor(t *testing.T) {
	s := secrets(1)
	a, b := newHost(t, Config{Secrets: s}), newHost(t, Config{Secrets: s})
	if err := b.Connect(t.Context(), peer.AddrInfo{ID: a.ID(), Addrs: a.Addrs()}); err != nil {
		t.Fatal(err)
	}
	counted(t, a, 1)
	if n := a.gater.door.Len(); n != 0 {
		t.Errorf("%d wait in the door, though all were admitted", n)
	}
}

func TestAskingLeavesNoTrace(t *testing.T) {
	s := secrets(1)
	a, b := newHost(t, Config{Secrets: s}), newHost(t, Config{Secrets: s})
	raw, err := new(manet.Dialer).DialContext(t.Context(), a.Addrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	if p, err := b.admission.Ask(t.Context(), raw); err != nil || p != a.ID() {
		t.Fatalf("%v, %v", p, err)
	}
	if a.Count() != 0 || len(a.Host().Network().Conns()) != 0 {
		t.Error("asking who listens made a member")
	}
}

func TestOutsiderReachesNothing(t *testing.T) {
	a := newHost(t, Config{Secrets: secrets(1)})
	reached := make(chan struct{}, 1)
	a.Host().SetStreamHandler("/x", func(s network.Stream) { reached <- struct{}{}; _ = s.Reset() })
	stranger := newHost(t, Config{Secrets: secrets(1)})
	if p, err := stranger.Dial(t.Context(), a.Addrs()[0]); err == nil {
		t.Errorf("an outsider was let in by %s", p)
	}
	// Knowing the peer ID does not help.
	if err := stranger.Connect(t.Context(), peer.AddrInfo{ID: a.ID(), Addrs: a.Addrs()}); err == nil {
		t.Error("an outsider was let in")
	}
	// And a member does not adopt an outsider that it dials.
	if p, err := a.Dial(t.Context(), stranger.Addrs()[0]); err == nil || p != "" {
		t.Errorf("a member adopted an outsider: %v", p)
	}
	if a.Count() != 0 || len(reached) != 0 {
		t.Error("the outsider got through")
	}
}

func TestRotationKeepsTheSwarmTogether(t *testing.T) {
	older, newer := admission.GenerateSecret(), admission.GenerateSecret()
	before := newHost(t, Config{Secrets: []admission.Secret{older}})
	during := newHost(t, Config{Secrets: []admission.Secret{older, newer}})
	turned := newHost(t, Config{Secrets: []admission.Secret{newer, older}})
	after := newHost(t, Config{Secrets: []admission.Secret{newer}})
	dial(t, before, during)
	dial(t, turned, before)
	dial(t, during, turned)
	dial(t, after, during)
	dial(t, turned, after)
	if _, err := after.Dial(t.Context(), before.Addrs()[0]); err == nil {
		t.Error("two nodes without a common secret met")
	}
}

func TestAlone(t *testing.T) {
	var log strings.Builder
	a := newHost(t, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	b := newHost(t, Config{Secrets: secrets(1)})
	if !a.Alone() || len(a.Addrs()) != 0 || len(a.Host().Network().ListenAddresses()) != 0 {
		t.Errorf("a node without a secret listens on %v", a.Addrs())
	}
	if !strings.Contains(log.String(), "alone") {
		t.Error("it does not say that it runs alone")
	}
	if _, err := a.Dial(t.Context(), b.Addrs()[0]); !errors.Is(err, admission.ErrAlone) {
		t.Errorf("Dial: %v", err)
	}
	if err := a.Host().Connect(t.Context(), peer.AddrInfo{ID: b.ID(), Addrs: b.Addrs()}); err == nil {
		t.Error("it connected")
	}
	if b.Count() != 0 {
		t.Error("it got through")
	}
}

func TestDialItself(t *testing.T) {
	a := newHost(t, Config{Secrets: secrets(1)})
	if _, err := a.Dial(t.Context(), a.Addrs()[0]); !errors.Is(err, admission.ErrSelf) {
		t.Errorf("err = %v", err)
	}
	if err := a.Connect(t.Context(), peer.AddrInfo{ID: a.ID()}); !errors.Is(err, admission.ErrSelf) {
		t.Errorf("err = %v", err)
	}
}

func TestBlock(t *testing.T) {
	s := secrets(1)
	a, b := newHost(t, Config{Secrets: s}), newHost(t, Config{Secrets: s})
	dial(t, a, b)
	counted(t, b, 1)
	a.Block(b.ID(), time.Hour)
	counted(t, a, 0)
	counted(t, b, 0)
	if !a.Blocked(b.ID()) || a.Blocked("other") {
		t.Error("the wrong peer is blocked")
	}
	a.Block(b.ID(), time.Nanosecond) // does not shorten
	if _, err := a.Dial(t.Context(), b.Addrs()[0]); err == nil {
		t.Error("a blocked peer was dialled")
	}
	_, err := b.Dial(t.Context(), a.Addrs()[0])
	if err == nil { // the dialer may learn of it only when the connection is closed
		counted(t, b, 0)
	}
	if a.Count() != 0 {
		t.Error("a blocked peer was accepted")
	}
	a.Unblock(b.ID())
	dial(t, b, a)
	counted(t, a, 1)
}

func TestBlocksAreBounded(t *testing.T) {
	g := newGater(false, nil, nil, nil)
	now := time.Now()
	g.block("first to end", now.Add(time.Minute))
	for i := range maxBlocked {
		g.block(peer.ID(rune(i+1000)), now.Add(time.Hour))
	}
	if len(g.blocked) > maxBlocked {
		t.Errorf("%d blocked", len(g.blocked))
	}
	if !g.allows("first to end") {
		t.Error("the wrong block was dropped")
	}
	g.block("over", now.Add(-time.Second))
	if !g.allows("over") {
		t.Error("a block does not end")
	}
}

func TestPortInUse(t *testing.T) {
	s := secrets(1)
	a := newHost(t, Config{Secrets: s})
	taken := a.Addrs()[0].String()
	_, err := New(Config{Secrets: s, Listen: []string{loopback, taken}})
	if err == nil || !strings.Contains(err.Error(), taken+": the port is in use") {
		t.Errorf("err = %v", err)
	}
}

func TestConfigRefuses(t *testing.T) {
	for _, bad := range []Config{
		{Listen: []string{"127.0.0.1:6051"}},
		{Listen: []string{"/ip4/127.0.0.1/udp/1/quic-v1"}},
		{Listen: []string{"/ip4/127.0.0.1/tcp/1/ws"}},
		{Listen: []string{"/ip4/127.0.0.1"}},
		{Listen: []string{"/dns4/example.org/tcp/1"}},
		{Listen: make([]string, maxListen+1)},
		{Announce: []string{"/ip4/0.0.0.0/tcp/1"}},
		{Announce: []string{"x"}},
		{Zone: "a b"},
		{Zone: strings.Repeat("z", maxZone+1)},
		{MaxMembers: -1},
		{Secrets: secrets(admission.MaxSecrets + 1)},
	} {
		if err := bad.Validate(); err == nil {
			t.Errorf("%+v is valid", bad)
		} else if h, err := New(bad); err == nil {
			t.Errorf("%+v started", bad)
			_ = h.Close()
		}
	}
}

func TestIPv6AndSeveralListeners(t *testing.T) {
	s := secrets(1)
	probe, err := new(net.ListenConfig).Listen(t.Context(), "tcp6", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 here")
	}
	_ = probe.Close()
	a := newHost(t, Config{Secrets: s, Listen: []string{"/ip6/::1/tcp/0", loopback}})
	b := newHost(t, Config{Secrets: s})
	for _, addr := range a.Addrs() {
		if p, err := b.Dial(t.Context(), addr); err != nil || p != a.ID() {
			t.Errorf("%s: %v, %v", addr, p, err)
		}
	}
	if len(a.Addrs()) != 2 {
		t.Errorf("addresses = %v", a.Addrs())
	}
}

func TestAdvertised(t *testing.T) {
	addrs := func(ss ...string) (out []ma.Multiaddr) {
		for _, s := range ss {
			out = append(out, ma.StringCast(s))
		}
		return out
	}
	all := addrs("/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/1", "/ip4/10.0.0.1/tcp/1", "/ip6/fe80::1/tcp/1", "/ip4/192.0.2.1/tcp/1")
	if got := advertised(all); len(got) != 2 || !got[0].Equal(all[2]) || !got[1].Equal(all[4]) {
		t.Errorf("advertised = %v", got)
	}
	if got := advertised(all[:2]); len(got) != 2 {
		t.Errorf("advertised = %v", got)
	}
	h := newHost(t, Config{Secrets: secrets(1), Announce: []string{"/ip4/192.0.2.7/tcp/9"}})
	if got := h.Addrs(); len(got) != 1 || got[0].String() != "/ip4/192.0.2.7/tcp/9" {
		t.Errorf("announced = %v", got)
	}
}

func TestIdentityLasts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "p2p")
	first := newHost(t, Config{DataDir: dir}).ID()
	if again := newHost(t, Config{DataDir: dir}).ID(); again != first {
		t.Errorf("the identity changed from %s to %s", first, again)
	}
	file := filepath.Join(dir, identityFile)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	for name, content := range map[string]string{"corrupt": "garbage", "empty": "", "huge": strings.Repeat("x", 1<<20)} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		var log strings.Builder
		h := newHost(t, Config{DataDir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if h.ID() == first || !strings.Contains(log.String(), "new identity") {
			t.Errorf("%s: log %q", name, log.String())
		}
		if newHost(t, Config{DataDir: dir}).ID() != h.ID() {
			t.Errorf("%s: the new identity does not last", name)
		}
	}
	if left, err := filepath.Glob(file + ".new*"); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestIdentityWithoutADisk(t *testing.T) {
	file := filepath.Join(t.TempDir(), "not-a-folder")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	newHost(t, Config{DataDir: file}) // works all the same
}

func TestAgent(t *testing.T) {
	for _, c := range []struct{ version, zone, want string }{
		{"0.1.0", "eu-1a", "shoal/0.1.0 zone=eu-1a"}, {"0.1.0", "", "shoal/0.1.0"}, {"", "", "shoal/devel"}, {"a b", "z", "shoal/devel zone=z"},
	} {
		got := agent(c.version, c.zone)
		if _, zone := parseAgent(got); got != c.want || zone != c.zone {
			t.Errorf("agent(%q, %q) = %q, zone %q", c.version, c.zone, got, zone)
		}
	}
	for _, s := range []string{"", "kubo/1 zone=a", "shoal/1 zone=", "shoal/1 zone=a b", "shoal/1 zone=\x00", "shoal/1 zone=" + strings.Repeat("z", 64), strings.Repeat("shoal/1 ", 99)} {
		if _, zone := parseAgent(s); zone != "" {
			t.Errorf("parseAgent(%q) found zone %q", s, zone)
		}
	}
}

func FuzzParseAgent(f *testing.F) {
	f.Add("shoal/0.1.0 zone=eu-1a")
	f.Fuzz(func(t *testing.T, s string) {
		version, zone := parseAgent(s)
		if version != "" && !validWord(version, maxVersion) || zone != "" && !validWord(zone, maxZone) {
			t.Errorf("%q: %q, %q", s, version, zone)
		}
	})
}

// A flood of connections that say nothing does not keep members out.
func TestFloodOfIdleConnections(t *testing.T) {
	s := secrets(1)
	a := newHost(t, Config{Secrets: s, HalfOpen: 16, HandshakeTimeout: 20 * time.Second})
	b := newHost(t, Config{Secrets: s})
	idle := make([]net.Conn, 0, 200)
	defer func() {
		for _, c := range idle {
			_ = c.Close()
		}
	}()
	for range 200 {
		c, err := new(manet.Dialer).DialContext(t.Context(), a.Addrs()[0])
		if err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}
	started := time.Now()
	dial(t, b, a)
	if d := time.Since(started); d > 5*time.Second {
		t.Errorf("a member had to wait %s", d)
	}
	_, _ = io.Copy(io.Discard, idle[0]) // it was closed, long before its time was over
}

// An address where nothing answers costs the dial timeout and no more.
func TestDeadAddress(t *testing.T) {
	a := newHost(t, Config{Secrets: secrets(1), HandshakeTimeout: 300 * time.Millisecond})
	// A listener that accepts and says nothing.
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	addr, err := manet.FromNetAddr(l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := a.Dial(ctx, addr); err == nil || ctx.Err() != nil {
		t.Errorf("err = %v, %v", err, ctx.Err())
	}
	if err := a.Connect(ctx, peer.AddrInfo{ID: newHost(t, Config{}).ID(), Addrs: []ma.Multiaddr{addr}}); err == nil || ctx.Err() != nil {
		t.Errorf("err = %v, %v", err, ctx.Err())
	}
}

func TestWatchEnds(t *testing.T) {
	h, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	one, stop := h.Watch()
	stop()
	stop()
	if <-one != 0 {
		t.Error("the first number is wrong")
	}
	if _, ok := <-one; ok {
		t.Error("the watch goes on")
	}
	two, stop := h.Watch()
	<-two
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if _, ok := <-two; ok {
		t.Error("the watch outlives the host")
	}
	stop()
	three, _ := h.Watch()
	if _, ok := <-three; ok {
		t.Error("a closed host is watched")
	}
}

// What is put around the host is what protocols run on.
func TestAround(t *testing.T) {
	type shell struct{ host.Host }
	var inside host.Host
	h := newHost(t, Config{Secrets: secrets(1), Around: func(h host.Host) host.Host {
		inside = h
		return shell{h}
	}})
	if around, ok := h.Host().(shell); !ok || around.Host != inside {
		t.Errorf("protocols run on %T, not on what was put around the host", h.Host())
	}
}
