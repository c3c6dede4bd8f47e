package discovery

import (
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
)

const (
	// maxAddrs bounds the addresses of one peer that are kept and told.
	maxAddrs = 8
	// maxID is more than the bytes of any peer's ID; those of Shoal's have 38.
	maxID = 64
)

// validID reports whether what another node calls a peer could be one.
func validID(id peer.ID) bool {
	_, err := peer.IDFromBytes([]byte(id))
	return err == nil && len(id) <= maxID
}

// dialable keeps, of addresses that another node claims, those that could be a member's: TCP
// at an IP address. Names are not looked up for others.
func dialable(addrs []ma.Multiaddr) []ma.Multiaddr {
	var out []ma.Multiaddr
	for _, a := range addrs {
		if len(out) == maxAddrs {
			break
		}
		if len(a) != 2 || a[1].Protocol().Code != ma.P_TCP || !manet.IsThinWaist(a) ||
			manet.IsIPUnspecified(a) || manet.IsIP6LinkLocal(a) {
			continue
		}
		out = append(out, a)
	}
	return out
}
