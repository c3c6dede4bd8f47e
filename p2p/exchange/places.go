package exchange

import (
	"slices"

	"github.com/libp2p/go-libp2p/core/peer"
)

// tag and tagValue keep connections with sessions when libp2p's connection manager trims.
const tag, tagValue = "shoal/exchange", 50

// A presence is what is kept of a peer that has streams. Owned by Exchange.mu.
type presence struct {
	places []*place // the oldest first
	meter  *meter
}

// A place is that of a stream that is or may become a session. Owned by Exchange.mu.
type place struct {
	peer  peer.ID
	meter *meter // the peer's
	end   func() // ends the stream, which somebody else has the place of; does not block
	free  bool   // it counts no more
}

// take takes a place for one stream with the peer; whoever takes it gives it an end. When all are
// taken, the peer that has the most gives up one, unless that is this peer. Needs e.mu.
func (e *Exchange) take(p peer.ID) (*place, error) {
	taken := 0
	if here := e.peers[p]; here != nil {
		taken = len(here.places)
	}
	if taken >= e.config.SessionsPerPeer || e.places >= e.config.Sessions && !e.makeRoom(taken+1) {
		return nil, ErrTooMany
	}
	here := e.peers[p]
	if here == nil {
		here = &presence{meter: new(meter)}
		if m, ok := e.gone.Get(p); ok {
			here.meter = m
			e.gone.Remove(p)
		}
		e.peers[p] = here
		e.host.ConnManager().TagPeer(p, tag, tagValue)
	}
	pl := &place{peer: p, meter: here.meter}
	here.places = append(here.places, pl)
	e.places++
	return pl, nil
}

// makeRoom ends the youngest stream of the peer that has the most places, if those are more than
// so many. Needs e.mu.
func (e *Exchange) makeRoom(than int) bool {
	var most *place
	for p, here := range e.peers {
		if n := len(here.places); n > than || n == than && most != nil && p < most.peer {
			than, most = n, here.places[n-1]
		}
	}
	if most == nil {
		return false
	}
	e.vacate(most)
	most.end()
	return true
}

// release gives a place back, if it is not another's already.
func (e *Exchange) release(pl *place) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.vacate(pl)
}

// vacate needs e.mu.
func (e *Exchange) vacate(pl *place) {
	if pl.free {
		return
	}
	pl.free = true
	e.places--
	here := e.peers[pl.peer]
	here.places = slices.DeleteFunc(here.places, func(other *place) bool { return other == pl })
	if len(here.places) > 0 {
		return
	}
	delete(e.peers, pl.peer)
	e.host.ConnManager().UntagPeer(pl.peer, tag)
	if here.meter.in.Load() > 0 || here.meter.out.Load() > 0 {
		e.gone.Add(pl.peer, here.meter)
	}
}
