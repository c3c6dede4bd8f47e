package p2p

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"

	"github.com/shoal-project/shoal/p2p/admission"
)

const (
	// addressRate bounds the new connections of one IP address, per second. Nodes behind one NAT
	// share one.
	addressRate, addressBurst = 64, 512
	// networkRate bounds those of the addresses of one IPv6 network that are no member's.
	networkRate, networkBurst = 256, 1024
	// strangerRate bounds those of all addresses that are no member's: what outsiders can have
	// this node work for. With the burst, a swarm of 500 nodes that starts at once may ask one of
	// them who it is, and connect to it.
	strangerRate, strangerBurst = 512, 2048
	// pacesKept bounds the memory of who came how often, membersKept of where members are.
	pacesKept, membersKept = 16384, 4096
)

// A pace says who may connect now. An address from which a member came, or at which one was
// reached, is held to its own limit alone, so that outsiders elsewhere do not keep it out.
// Loopback has no limit: nodes of a demo. It is safe for concurrent use.
type pace struct {
	mu        sync.Mutex
	buckets   *simplelru.LRU[netip.Prefix, *rate.Limiter]
	strangers *rate.Limiter
	members   *simplelru.LRU[netip.Addr, struct{}]
}

func newPace() (*pace, error) {
	buckets, err := simplelru.NewLRU[netip.Prefix, *rate.Limiter](pacesKept, nil)
	if err != nil {
		return nil, fmt.Errorf("limit the connections of an address: %w", err)
	}
	members, err := simplelru.NewLRU[netip.Addr, struct{}](membersKept, nil)
	if err != nil {
		return nil, fmt.Errorf("remember where members are: %w", err)
	}
	return &pace{buckets: buckets, strangers: rate.NewLimiter(strangerRate, strangerBurst), members: members}, nil
}

// met takes note that a member is at the address.
func (p *pace) met(addr netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.members.Add(plain(addr), struct{}{})
}

// knows reports whether a member was met at the address lately.
func (p *pace) knows(addr netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.members.Contains(plain(addr))
}

// allow reports whether the address may connect now, and counts it if so. Whom one limit
// refuses counts against none.
func (p *pace) allow(now time.Time, addr netip.Addr) bool {
	addr = plain(addr)
	if !addr.IsValid() {
		return false
	}
	if addr.IsLoopback() {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	limits := []*rate.Limiter{p.bucket(netip.PrefixFrom(addr, addr.BitLen()), addressRate, addressBurst)}
	if !p.members.Contains(addr) {
		if addr.Is6() {
			limits = append(limits, p.bucket(admission.NetworkOf(addr), networkRate, networkBurst))
		}
		limits = append(limits, p.strangers)
	}
	for _, l := range limits {
		if l.TokensAt(now) < 1 {
			return false
		}
	}
	for _, l := range limits {
		l.AllowN(now, 1)
	}
	return true
}

// bucket is that of the prefix, a full one if nobody came from there lately. Needs mu.
func (p *pace) bucket(of netip.Prefix, perSecond rate.Limit, burst int) *rate.Limiter {
	limiter, ok := p.buckets.Get(of)
	if !ok {
		limiter = rate.NewLimiter(perSecond, burst)
		p.buckets.Add(of, limiter)
	}
	return limiter
}

// plain is the address as it is compared: IPv4 as such, and without the name of an interface.
func plain(addr netip.Addr) netip.Addr { return addr.Unmap().WithZone("") }
