package exchange

import (
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/pkg/blob"
)

const (
	// metersKept is how many peers without a session are remembered.
	metersKept = 4096
	// tag and tagValue keep connections with sessions when libp2p's connection manager trims.
	tag, tagValue = "shoal/exchange", 50
)

// A meter counts the bytes of a peer's streams, messages included, since the exchange began.
type meter struct{ in, out atomic.Int64 }

// A presence is what is kept of a peer that has streams. Owned by Exchange.mu.
type presence struct {
	places int
	meter  *meter
}

// take takes a place for one stream with the peer. Needs e.mu.
func (e *Exchange) take(p peer.ID) error {
	here := e.peers[p]
	if e.places >= e.config.Sessions || here != nil && here.places >= e.config.SessionsPerPeer {
		return ErrTooMany
	}
	if here == nil {
		here = &presence{meter: new(meter)}
		if m, ok := e.gone.Get(p); ok {
			here.meter = m
			e.gone.Remove(p)
		}
		e.peers[p] = here
		e.host.ConnManager().TagPeer(p, tag, tagValue)
	}
	e.places++
	here.places++
	return nil
}

// release gives a place back.
func (e *Exchange) release(p peer.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	here := e.peers[p]
	e.places--
	here.places--
	if here.places > 0 {
		return
	}
	delete(e.peers, p)
	e.host.ConnManager().UntagPeer(p, tag)
	if here.meter.in.Load() > 0 || here.meter.out.Load() > 0 {
		e.gone.Add(p, here.meter)
	}
}

// meter is that of a peer that has a place.
func (e *Exchange) meter(p peer.ID) *meter {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.peers[p].meter
}

// Traffic is how many bytes came from the peer and went to it since the exchange began,
// messages included. Of peers without a session only the latest few thousand are known.
func (e *Exchange) Traffic(p peer.ID) (in, out blob.ByteCount) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if here := e.peers[p]; here != nil {
		return here.meter.totals()
	}
	if m, ok := e.gone.Peek(p); ok {
		return m.totals()
	}
	return 0, 0
}

func (m *meter) totals() (in, out blob.ByteCount) {
	return blob.ByteCount(m.in.Load()), blob.ByteCount(m.out.Load())
}
