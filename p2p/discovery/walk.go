package discovery

import (
	"bytes"
	"slices"

	kb "github.com/libp2p/go-libp2p-kbucket"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// asksAtOnce is how many peers a walk asks at one time, those that are slow not counted;
	// with them it is asksInAll. Where everybody is slow, more questions make it worse.
	asksAtOnce, asksInAll = 5, 7
	// maxAsks ends a walk that liars lead from one peer to the next.
	maxAsks = 64
	// maxCloser is how many peers a walk takes from one answer.
	maxCloser = keepers
)

// A waypoint is a peer that a walk has heard of.
type waypoint struct {
	id       peer.ID
	distance kb.ID // to the place that the walk leads to
	stage    stage
}

type stage int

const (
	heardOf  stage = iota
	asked          // and not answered yet
	slow           // asked long ago: the walk goes on without it, and takes its answer all the same
	answered       // it is there
	failed         // it is not, or does not speak the protocol
)

// A walk finds the peers closest to a place in the DHT's key space: it asks the closest ones
// known for closer ones, until the closest have answered. It is a value without goroutines or
// clock; whoever owns it asks the peers that it names and tells it what came of that.
type walk struct {
	place kb.ID
	width int         // how many of the closest peers have to answer
	way   []*waypoint // the closest first
	known map[peer.ID]*waypoint
	asks  int // so far
	open  int // under way and not slow
	late  int // under way and slow
}

// newWalk starts at the peers that self, which is never asked, knows itself.
func newWalk(place kb.ID, width int, self peer.ID, start []peer.ID) *walk {
	w := &walk{place: place, width: width, known: map[peer.ID]*waypoint{self: {id: self}}}
	for _, id := range start {
		w.hear(id)
	}
	return w
}

// hear takes note of a peer, and reports whether it is new.
func (w *walk) hear(id peer.ID) bool {
	if w.known[id] != nil {
		return false
	}
	p := &waypoint{id: id, distance: kb.Xor(w.place, kb.ConvertPeerID(id))}
	w.known[id] = p
	at, _ := slices.BinarySearchFunc(w.way, p, func(a, b *waypoint) int { return bytes.Compare(a.distance, b.distance) })
	w.way = slices.Insert(w.way, at, p)
	return true
}

// next names a peer to ask now, if there is one: the closest that was not asked, should it be
// among the closest of all but for those that do not answer.
func (w *walk) next() (peer.ID, bool) {
	if w.open >= asksAtOnce || w.open+w.late >= asksInAll || w.asks >= maxAsks {
		return "", false
	}
	for _, p := range w.front() {
		if p.stage == heardOf {
			p.stage = asked
			w.asks++
			w.count(asked, +1)
			return p.id, true
		}
	}
	return "", false
}

// front is the closest peers that may still be there.
func (w *walk) front() []*waypoint {
	front := make([]*waypoint, 0, w.width)
	for _, p := range w.way {
		if len(front) == w.width {
			break
		}
		if p.stage != slow && p.stage != failed {
			front = append(front, p)
		}
	}
	return front
}

// tell takes note of how an ask goes: the peer is slow, it answered, or it failed.
func (w *walk) tell(id peer.ID, now stage) {
	p := w.known[id]
	if p == nil || p.stage != asked && p.stage != slow {
		return
	}
	w.count(p.stage, -1)
	w.count(now, +1)
	p.stage = now
}

// count keeps the numbers of asks under way.
func (w *walk) count(s stage, n int) {
	switch s {
	case asked:
		w.open += n
	case slow:
		w.late += n
	case heardOf, answered, failed:
	}
}

// done reports whether the closest peers have answered, or as many were asked as may be.
func (w *walk) done() bool {
	if w.asks >= maxAsks && w.open == 0 {
		return true
	}
	return !slices.ContainsFunc(w.front(), func(p *waypoint) bool { return p.stage != answered })
}

// closest are the closest peers that answered.
func (w *walk) closest() []peer.ID {
	ids := make([]peer.ID, 0, w.width)
	for _, p := range w.way {
		if p.stage == answered && len(ids) < w.width {
			ids = append(ids, p.id)
		}
	}
	return ids
}
