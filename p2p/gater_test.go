package p2p

import (
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/test"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/shoal-project/shoal/p2p/admission"
)

// An arrival is a connection from an address, on which nothing is said.
type arrival struct {
	net.Conn
	from   *net.TCPAddr
	closed atomic.Bool
}

func arrivalFrom(t *testing.T, ip string) *arrival {
	t.Helper()
	return &arrival{from: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(ip), 4000))}
}

func (a *arrival) RemoteAddr() net.Addr       { return a.from }
func (*arrival) SetDeadline(time.Time) error  { return nil }
func (*arrival) LocalMultiaddr() ma.Multiaddr { return ma.StringCast("/ip4/10.0.0.9/tcp/6051") }
func (a *arrival) Close() error               { a.closed.Store(true); return nil }
func (a *arrival) RemoteMultiaddr() ma.Multiaddr {
	addr, err := manet.FromNetAddr(a.from)
	if err != nil {
		panic(err)
	}
	return addr
}

// While one address opens connections as fast as it can, the handshakes of others, however slow,
// stay in the door; and most of the flood does not get there.
func TestFloodStaysOutsideTheDoor(t *testing.T) {
	pace := pacer(t)
	const room, flood = 256, 20_000
	door := admission.NewDoor(room, time.Hour)
	g := newGater(false, door, pace, nil)
	slow := []*arrival{arrivalFrom(t, "10.0.0.1"), arrivalFrom(t, "10.0.0.2"), arrivalFrom(t, "fd00::1")}
	for _, a := range slow {
		if !g.InterceptAccept(a) {
			t.Fatalf("%v is refused", a.from)
		}
	}
	began, entered := time.Now(), 0
	for range flood {
		if g.InterceptAccept(arrivalFrom(t, "10.0.0.66")) { // refused by libp2p afterwards, or silent: it never leaves
			entered++
		}
	}
	if most := addressBurst + int(addressRate*(time.Since(began).Seconds()+1)); entered < addressBurst || entered > most {
		t.Errorf("%d of %d connections of one address got to the door, want %d to %d", entered, flood, addressBurst, most)
	}
	for _, a := range slow {
		if a.closed.Load() {
			t.Errorf("%v was pushed out", a.from)
		}
	}
	if n := door.Len(); n != room {
		t.Errorf("%d wait in a door for %d", n, room)
	}
}

// Where a member was met, in either direction, outsiders elsewhere do not keep it out.
func TestGaterKnowsWhereMembersAre(t *testing.T) {
	pace := pacer(t)
	g := newGater(false, admission.NewDoor(0, 0), pace, nil)
	blocked := test.RandPeerIDFatal(t)
	g.block(blocked, time.Now().Add(time.Hour))
	if !g.InterceptSecured(network.DirOutbound, test.RandPeerIDFatal(t), arrivalFrom(t, "10.0.0.1")) ||
		g.InterceptSecured(network.DirInbound, blocked, arrivalFrom(t, "10.0.0.2")) {
		t.Fatal("the wrong peer is refused")
	}
	pace.strangers.SetBurst(0) // outsiders took all of it
	if !g.InterceptAccept(arrivalFrom(t, "10.0.0.1")) {
		t.Error("a member is kept out")
	}
	if g.InterceptAccept(arrivalFrom(t, "10.0.0.2")) || g.InterceptAccept(arrivalFrom(t, "10.0.0.3")) {
		t.Error("an outsider, or a blocked peer, is held to no limit")
	}
}

// Whatever members say, a node dials neither what else runs on its machine nor a cloud's metadata;
// but in a swarm on one machine or one link, members; and where a member was met.
func TestGaterDialsNobodyNear(t *testing.T) {
	const metadata, router, loopback, far = "/ip4/169.254.169.254/tcp/80", "/ip6/fe80::1/tcp/80", "/ip4/127.0.0.1/tcp/22", "/ip4/10.0.0.1/tcp/6051"
	const mapped, six = "/ip6/::ffff:127.0.0.1/tcp/22", "/ip6/::1/tcp/22"
	never := []string{"/ip4/0.0.0.0/tcp/22", "/ip6/::/tcp/22", "/ip4/224.0.0.1/tcp/22", "/dns4/localhost/tcp/22"}
	all := append([]string{metadata, router, loopback, mapped, six, far}, never...)
	for name, c := range map[string]struct{ own, met, dials []string }{
		"on a network":          {own: []string{"/ip4/10.0.0.9/tcp/6051"}, dials: []string{far}},
		"that tells no address": {dials: []string{far}},
		"on one machine":        {own: []string{"/ip4/127.0.0.1/tcp/1"}, dials: []string{loopback, mapped, six, far}},
		"on one link":           {own: []string{"/ip4/169.254.0.9/tcp/1"}, dials: []string{metadata, router, far}},
		"with a member nearby":  {own: []string{"/ip4/10.0.0.9/tcp/6051"}, met: []string{loopback}, dials: []string{loopback, mapped, far}},
	} {
		pace := pacer(t)
		var own []ma.Multiaddr
		for _, s := range c.own {
			own = append(own, ma.StringCast(s))
		}
		for _, s := range c.met {
			pace.met(ipOf(ma.StringCast(s)))
		}
		g := newGater(false, nil, pace, func() []ma.Multiaddr { return own })
		for _, s := range all {
			if got, want := g.InterceptAddrDial("somebody", ma.StringCast(s)), slices.Contains(c.dials, s); got != want {
				t.Errorf("a node %s dials %s: %v", name, s, got)
			}
		}
	}
}

// What the operator names is dialled, wherever it is, once a member answers there.
func TestDialledAddressesAreKnown(t *testing.T) {
	s := secrets(1)
	a := newHost(t, Config{Secrets: s})
	b := newHost(t, Config{Secrets: s, Announce: []string{"/ip4/192.0.2.7/tcp/9"}})
	if err := b.Connect(t.Context(), peer.AddrInfo{ID: a.ID(), Addrs: a.Addrs()}); err == nil {
		t.Error("an address of this machine was dialled because somebody told it")
	}
	dial(t, b, a)
}
