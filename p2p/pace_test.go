package p2p

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

var noon = time.Unix(43200, 0)

func pacer(t *testing.T) *pace {
	t.Helper()
	p, err := newPace()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// hostOf is host n of the network.
func hostOf(network string, n int) netip.Addr {
	addr := netip.MustParseAddr(network)
	raw := addr.AsSlice()
	tail := raw[len(raw)-4:]
	binary.BigEndian.PutUint32(tail, binary.BigEndian.Uint32(tail)+uint32(n))
	out, _ := netip.AddrFromSlice(raw)
	return out
}

// allowed is how many of n connections may come at once, the i-th from the address that from names.
func allowed(p *pace, now time.Time, n int, from func(i int) netip.Addr) int {
	in := 0
	for i := range n {
		if p.allow(now, from(i)) {
			in++
		}
	}
	return in
}

func TestPace(t *testing.T) {
	one := func(s string) func(int) netip.Addr { return func(int) netip.Addr { return netip.MustParseAddr(s) } }
	many := func(network string) func(int) netip.Addr {
		return func(i int) netip.Addr { return hostOf(network, i) }
	}
	for name, c := range map[string]struct {
		from                       func(int) netip.Addr
		atOnce, aSecond, anyAmount int
	}{
		"one IPv4 address":            {one("10.0.0.1"), addressBurst, addressRate, 20_000},
		"one IPv6 address":            {one("2001:db8::1"), addressBurst, addressRate, 20_000},
		"IPv4 as IPv6":                {one("::ffff:10.0.0.1"), addressBurst, addressRate, 20_000},
		"one IPv6 address, and links": {func(i int) netip.Addr { return netip.MustParseAddr("fe80::1").WithZone(string(rune('a' + i%26))) }, addressBurst, addressRate, 20_000},
		"one IPv6 network":            {many("2001:db8::"), networkBurst, networkRate, 20_000},
		"all IPv4 addresses":          {many("10.0.0.0"), strangerBurst, strangerRate, 20_000},
		"all IPv6 networks":           {func(i int) netip.Addr { return netip.AddrFrom16([16]byte{0x20, 1, byte(i >> 8), byte(i)}) }, strangerBurst, strangerRate, 20_000},
		"this machine":                {many("127.0.0.1"), 20_000, 20_000, 20_000},
		"nowhere":                     {func(int) netip.Addr { return netip.Addr{} }, 0, 0, 20_000},
	} {
		p := pacer(t)
		if got := allowed(p, noon, c.anyAmount, c.from); got != c.atOnce {
			t.Errorf("%s: %d connections at once, want %d", name, got, c.atOnce)
		}
		if got := allowed(p, noon.Add(time.Second), c.anyAmount, c.from); got != c.aSecond {
			t.Errorf("%s: %d connections a second, want %d", name, got, c.aSecond)
		}
	}
}

// Whom its own limit refuses takes nothing from the others'.
func TestPaceOfOneIsNotAnothersLoss(t *testing.T) {
	p := pacer(t)
	allowed(p, noon, 20_000, func(int) netip.Addr { return netip.MustParseAddr("10.0.0.1") })
	allowed(p, noon, 20_000, func(i int) netip.Addr { return hostOf("2001:db8::", i) })
	others := func(i int) netip.Addr { return hostOf("10.1.0.0", i) }
	if got, want := allowed(p, noon, 20_000, others), strangerBurst-addressBurst-networkBurst; got != want {
		t.Errorf("%d of the others may come, want %d", got, want)
	}
}

// A member comes back though outsiders used up what there is for its network and for all, but not
// more often than any address may.
func TestPaceOfMembers(t *testing.T) {
	p := pacer(t)
	four, six := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::ffff:1")
	p.met(netip.MustParseAddr("::ffff:10.0.0.1"))
	p.met(six)
	allowed(p, noon, 20_000, func(i int) netip.Addr { return hostOf("2001:db8::", i) })
	allowed(p, noon, 20_000, func(i int) netip.Addr { return hostOf("10.1.0.0", i) })
	for _, member := range []netip.Addr{four, six} {
		if got := allowed(p, noon, 20_000, func(int) netip.Addr { return member }); got != addressBurst {
			t.Errorf("a member at %v may come %d times, want %d", member, got, addressBurst)
		}
	}
}

func TestPaceIsBounded(t *testing.T) {
	p := pacer(t)
	for i := range 2 * pacesKept {
		p.met(hostOf("10.0.0.0", i))
		p.allow(noon, hostOf("10.0.0.0", i))
	}
	if p.buckets.Len() > pacesKept || p.members.Len() > membersKept {
		t.Errorf("%d addresses and %d members are remembered", p.buckets.Len(), p.members.Len())
	}
}
