package p2p

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/shoal-project/shoal/p2p/admission"
)

// maxBlocked bounds the memory that blocking takes. Peer IDs cost members nothing to make.
const maxBlocked = 4096

// gater refuses blocked peers, addresses that connect too often, and everybody when the node
// runs alone. It is safe for concurrent use.
type gater struct {
	alone bool
	door  *admission.Door
	pace  *pace
	own   func() []ma.Multiaddr // what others are told of where this node listens

	mu      sync.Mutex
	blocked map[peer.ID]time.Time // until when
}

var _ connmgr.ConnectionGater = (*gater)(nil)

func newGater(alone bool, door *admission.Door, pace *pace, own func() []ma.Multiaddr) *gater {
	return &gater{alone: alone, door: door, pace: pace, own: own, blocked: map[peer.ID]time.Time{}}
}

func (g *gater) block(p peer.ID, until time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if old, ok := g.blocked[p]; ok && old.After(until) {
		return
	}
	if len(g.blocked) >= maxBlocked {
		g.makeRoom(time.Now())
	}
	g.blocked[p] = until
}

// makeRoom forgets those whose time is over or, if there are none, the one who is next.
func (g *gater) makeRoom(now time.Time) {
	var next peer.ID
	for p, until := range g.blocked {
		if !until.After(now) {
			delete(g.blocked, p)
		} else if next == "" || until.Before(g.blocked[next]) {
			next = p
		}
	}
	if len(g.blocked) >= maxBlocked {
		delete(g.blocked, next)
	}
}

func (g *gater) unblock(p peer.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.blocked, p)
}

func (g *gater) allows(p peer.ID) bool {
	if g.alone {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	until, ok := g.blocked[p]
	if ok && !until.After(time.Now()) {
		delete(g.blocked, p)
		ok = false
	}
	return !ok
}

// InterceptPeerDial implements connmgr.ConnectionGater.
func (g *gater) InterceptPeerDial(p peer.ID) bool { return g.allows(p) }

// InterceptAddrDial implements connmgr.ConnectionGater. Members tell where others are, and where
// they are themselves.
func (g *gater) InterceptAddrDial(p peer.ID, addr ma.Multiaddr) bool {
	return g.allows(p) && g.elsewhere(ipOf(addr))
}

// elsewhere reports whether the address can be another member's. One of this machine or of this
// link can be if this node has such an address itself, or if a member was met there: otherwise it
// leads to what else runs here, or to a cloud's metadata.
func (g *gater) elsewhere(addr netip.Addr) bool {
	var near func(netip.Addr) bool
	switch {
	case !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast():
		return false
	case addr.IsLoopback():
		near = netip.Addr.IsLoopback
	case addr.IsLinkLocalUnicast():
		near = netip.Addr.IsLinkLocalUnicast
	default:
		return true
	}
	return g.pace.knows(addr) || slices.ContainsFunc(g.own(), func(own ma.Multiaddr) bool { return near(ipOf(own)) })
}

// InterceptAccept implements connmgr.ConnectionGater: the connection enters the door, which
// it leaves when its handshake is over. Who comes too often gets no place there, for libp2p asks
// here before it looks at limits of its own.
func (g *gater) InterceptAccept(addrs network.ConnMultiaddrs) bool {
	conn, ok := addrs.(net.Conn)
	return ok && !g.alone && g.pace.allow(time.Now(), ipOf(addrs.RemoteMultiaddr())) && g.door.Enter(conn) == nil
}

// InterceptSecured implements connmgr.ConnectionGater. The peer was admitted.
func (g *gater) InterceptSecured(_ network.Direction, p peer.ID, addrs network.ConnMultiaddrs) bool {
	if !g.allows(p) {
		return false
	}
	g.pace.met(ipOf(addrs.RemoteMultiaddr()))
	return true
}

// ipOf is the IP address in a, as IPv4 where it is such; zero if there is none.
func ipOf(a ma.Multiaddr) netip.Addr {
	ip, err := manet.ToIP(a)
	if err != nil {
		return netip.Addr{}
	}
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}

// InterceptUpgraded implements connmgr.ConnectionGater. It looks again: a peer may have been
// blocked while its connection was made.
func (g *gater) InterceptUpgraded(c network.Conn) (bool, control.DisconnectReason) {
	return g.allows(c.RemotePeer()), 0
}
