package exchange

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/wire"
)

// Both sides, and several callers of each, open the same sessions at once: there is one of
// each, everybody's Connect succeeds, and it works in both directions.
func TestSimultaneousOpen(t *testing.T) {
	a, b := pair(t, Config{})
	a.connect(b, digestOf(255), testSize) // so that nobody waits for a dial
	const blobs, callers = 40, 2
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for n := range blobs {
		for range callers {
			for _, c := range []struct{ from, to *node }{{a, b}, {b, a}} {
				wg.Go(func() {
					<-begin
					if err := c.from.Exchange.Connect(t.Context(), c.to.ID(), digestOf(byte(n)), testSize); err != nil {
						t.Errorf("blob %d: %v", n, err)
					}
				})
			}
		}
	}
	close(begin)
	wg.Wait()
	for n := range blobs {
		d := digestOf(byte(n))
		a.send(b, d, wire.Ask{Chunk: 1})
		b.send(a, d, wire.Ask{Chunk: 2})
		a.waitMessage(d, wire.Ask{Chunk: 2})
		b.waitMessage(d, wire.Ask{Chunk: 1})
		for _, x := range []*node{a, b} {
			if x.count("joined", d) != 1 || x.count("left", d) != 0 {
				t.Errorf("blob %d: joined %d times, left %d times", n, x.count("joined", d), x.count("left", d))
			}
		}
	}
	for n := range blobs {
		a.Disconnect(b.ID(), digestOf(byte(n)))
	}
	for n := range blobs {
		_ = a.waitLeft(digestOf(byte(n)))
		_ = b.waitLeft(digestOf(byte(n)))
	}
}

// The rule decides, not luck: both Hellos cross for certain, and the smaller peer ID's stream wins.
func TestCrossingHellos(t *testing.T) {
	small, large := pair(t, Config{})
	d := digestOf(1)
	var both sync.WaitGroup
	both.Add(2)
	crossed := func(context.Context, peer.ID, blob.Digest, blob.ByteCount) error {
		both.Done() // each side has the other's Hello before it answers
		both.Wait()
		return nil
	}
	small.accept, large.accept = crossed, crossed
	results := make(chan error, 2)
	for _, c := range []struct{ from, to *node }{{small, large}, {large, small}} {
		go func() { results <- c.from.Exchange.Connect(t.Context(), c.to.ID(), d, testSize) }()
	}
	for range 2 {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	if outbound := stream(t, small, large.ID(), d).Stat().Direction.String(); outbound != "Outbound" {
		t.Errorf("the smaller ID's side of the session is %s", outbound)
	}
	small.send(large, d, wire.Ask{Chunk: 1})
	large.waitMessage(d, wire.Ask{Chunk: 1})
}

// stream is that of the session.
func stream(t *testing.T, n *node, p peer.ID, d blob.Digest) network.Stream {
	t.Helper()
	s, err := n.session(key{p, d})
	if err != nil {
		t.Fatal(err)
	}
	return s.stream
}

// Three nodes, everybody with everybody about several blobs.
func TestThreeNodes(t *testing.T) {
	nodes := []*node{newNode(t, Config{}), newNode(t, Config{}), newNode(t, Config{})}
	introduce(nodes[0].Host, nodes[1].Host, nodes[2].Host)
	var wg sync.WaitGroup
	for n := range 5 {
		for _, from := range nodes {
			for _, to := range nodes {
				if from != to {
					wg.Go(func() {
						if err := from.Exchange.Connect(t.Context(), to.ID(), digestOf(byte(n)), testSize); err != nil {
							t.Error(err)
						}
					})
				}
			}
		}
	}
	wg.Wait()
	for _, n := range nodes {
		if n.Sessions() != 10 {
			t.Errorf("%d sessions, want 10", n.Sessions())
		}
	}
	nodes[0].Close()
	for _, n := range nodes[1:] {
		n.until("end of the sessions with the first", func() bool {
			left := 0
			for _, e := range n.events {
				if e.what == "left" && e.peer == nodes[0].ID() {
					left++
				}
			}
			return left == 5
		})
	}
}

func TestLimits(t *testing.T) {
	t.Run("mine", func(t *testing.T) {
		a, b := pair(t, Config{})
		a.Close()
		a.attach(Config{SessionsPerPeer: 2})
		a.connect(b, digestOf(1), testSize)
		b.connect(a, digestOf(2), testSize)
		if err := a.Exchange.Connect(t.Context(), b.ID(), digestOf(3), testSize); !errors.Is(err, ErrTooMany) {
			t.Errorf("Connect beyond this node's limit: %v", err)
		}
		if err := b.Exchange.Connect(t.Context(), a.ID(), digestOf(3), testSize); !errors.Is(err, ErrTooMany) {
			t.Errorf("Connect beyond the peer's limit: %v", err)
		}
		a.Disconnect(b.ID(), digestOf(1))
		_ = b.waitLeft(digestOf(1))
		connectSoon(t, a, b, digestOf(3))
	})
	t.Run("all", func(t *testing.T) {
		a, b := pair(t, Config{Sessions: 3})
		c := newNode(t, Config{})
		introduce(a.Host, b.Host, c.Host)
		a.connect(b, digestOf(1), testSize)
		a.connect(b, digestOf(2), testSize)
		c.connect(a, digestOf(1), testSize)
		if err := a.Exchange.Connect(t.Context(), c.ID(), digestOf(3), testSize); !errors.Is(err, ErrTooMany) {
			t.Errorf("Connect beyond the limit: %v", err)
		}
		if err := c.Exchange.Connect(t.Context(), a.ID(), digestOf(3), testSize); !errors.Is(err, ErrTooMany) {
			t.Errorf("Connect beyond the peer's limit: %v", err)
		}
	})
}

// connectSoon connects once a session that just ended has given its place back.
func connectSoon(t *testing.T, a, b *node, d blob.Digest) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		err := a.Exchange.Connect(t.Context(), b.ID(), d, testSize)
		if err == nil {
			return
		}
		if !errors.Is(err, ErrTooMany) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
