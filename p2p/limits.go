package p2p

import (
	"net/netip"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/x/rate"
)

const (
	// A peer has one stream per blob exchanged with it, 256 at most, and a few for questions.
	peerStreams = 384
	// A pair of nodes may dial each other at the same moment and on several addresses.
	peerConns = 16
	// The windows that one peer may make us promise: 256 KiB a stream, and 4 MiB once that stream
	// is read fast, as long as half of this is left. yamux ends the whole connection of who
	// opens a stream beyond it. So there is no such limit for all peers together: those with many
	// silent streams would cut off the others. What they really take is bounded by unread.
	peerMemory = 128 << 20
	// addressConns bounds connections per IPv4 address, of which nodes behind one NAT share one,
	// and per IPv6 network, which all nodes may share. It is above what the door holds and the
	// members together, so that strangers do not keep members out.
	addressConns = 2048
)

// newLimits bounds what members and strangers can make this node hold. members is the number
// of connections that are kept; for a while there may be twice as many.
func newLimits(members, halfOpen int) (network.ResourceManager, error) {
	conns := 2*members + 2*halfOpen
	infinite := rcmgr.InfiniteLimits
	limits := rcmgr.PartialLimitConfig{
		System: rcmgr.ResourceLimits{
			Conns:         rcmgr.LimitVal(conns),
			ConnsInbound:  rcmgr.LimitVal(members + members/2 + 2*halfOpen),
			ConnsOutbound: rcmgr.LimitVal(members + members/2 + halfOpen),
			Streams:       rcmgr.LimitVal(64 * members),
		},
		// Not admitted yet. The door bounds those that came, by ending the oldest: a limit here would
		// refuse the newest while those that were ended have not noticed.
		Transient: rcmgr.ResourceLimits{
			ConnsOutbound: rcmgr.LimitVal(2 * halfOpen),
			Streams:       rcmgr.LimitVal(8 * members),
		},
		PeerDefault: rcmgr.ResourceLimits{
			Conns:           peerConns,
			ConnsInbound:    peerConns,
			ConnsOutbound:   peerConns,
			Streams:         2 * peerStreams,
			StreamsInbound:  peerStreams,
			StreamsOutbound: peerStreams,
			Memory:          peerMemory,
		},
	}.Build(infinite)
	return rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(limits),
		rcmgr.WithMetricsDisabled(),
		rcmgr.WithLimitPerSubnet(
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: addressConns}},
			[]rcmgr.ConnLimitPerSubnet{{PrefixLength: 64, ConnCount: addressConns}},
		),
		// How often one address is dialled. The gater has the same limit for who connects.
		rcmgr.WithConnRateLimiters(&rate.Limiter{
			NetworkPrefixLimits: []rate.PrefixLimit{ // no limit: nodes of a demo
				{Prefix: netip.MustParsePrefix("127.0.0.0/8")},
				{Prefix: netip.MustParsePrefix("::1/128")},
			},
			SubnetRateLimiter: rate.SubnetLimiter{
				IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: rate.Limit{RPS: addressRate, Burst: addressBurst}}},
				IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 128, Limit: rate.Limit{RPS: addressRate, Burst: addressBurst}}},
				GracePeriod:      time.Minute,
			},
		}),
	)
}
