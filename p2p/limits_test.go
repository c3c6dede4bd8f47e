package p2p

import (
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/shoal-project/shoal/p2p/admission"
)

// A peer that opens streams without end gets what one may have, and takes nobody else's.
func TestStreamsOfOnePeer(t *testing.T) {
	limits, err := newLimits(DefaultMaxMembers, admission.DefaultHalfOpen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = limits.Close() })
	open := func(from peer.ID, streams int) (opened int) {
		for range streams {
			scope, err := limits.OpenStream(from, network.DirInbound)
			if err != nil {
				continue
			}
			t.Cleanup(scope.Done)
			opened++
		}
		return opened
	}
	if got := open("flooder", 10*peerStreams); got != peerStreams {
		t.Errorf("it has %d streams, want %d", got, peerStreams)
	}
	if got := open("honest", peerStreams); got != peerStreams {
		t.Errorf("beside a flood %d of %d streams open", got, peerStreams)
	}
}

// All members may stand behind one address, and a flood of strangers before the door beside them.
func TestMembersOfOneAddress(t *testing.T) {
	if least := DefaultMaxMembers + admission.DefaultHalfOpen; addressConns < least {
		t.Errorf("an address may have %d connections, want at least %d", addressConns, least)
	}
}

// The door has ended a flood, whose goroutines have yet to notice: who comes next is let in.
func TestMemberBehindAFloodThatEnded(t *testing.T) {
	const halfOpen, flood = 16, 20 * 16
	limits, err := newLimits(DefaultMaxMembers, halfOpen)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = limits.Close() })
	for i := range flood + 1 {
		scope, err := limits.OpenConnection(network.DirInbound, true, ma.StringCast("/ip4/10.0.0.66/tcp/9"))
		if err != nil {
			t.Fatalf("after %d connections: %v", i, err)
		}
		t.Cleanup(scope.Done)
	}
}
