package scheduler

import (
	"cmp"
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
)

// An order is how the members of a swarm stand to each other. Every node works it out by
// itself, from rendezvous hashes of the blob and the members that it knows; where views
// agree, so do the orders.
//
// There are three: by weight for one run (whose duty is it), by weight for the whole blob
// (who reads at all, and who is served first), and along a ring (who hands on to whom).
type order struct {
	self    uint64   // this node's seed
	stale   bool     // the peers in session changed
	named   bool     // who else is known of changed
	until   Time     // when a peer that is passed over stands in the line again; never: none is
	fades   Time     // when the first name stops counting as a member; never: none does
	reader  bool     // this node shares the reads
	least   uint64   // weight of the last who shares them
	ranks   []rank   // of this node for each run
	weights []uint64 // of all members, lightest first

	line    []*peer // peers in session from the nearest before this node on the ring to the farthest
	fingers []*peer // of those that want the blob as well the 1st, 2nd, 4th, 8th and so on
	next    []*peer // who come after this node on the ring, nearest first: a few, and whose finger it is
}

// A rank is this node's rank for one run, once it is known.
type rank struct {
	known bool
	value int
}

const (
	wholeBlob = -1 // for a weight that is about no run
	onRing    = -2
	// Up to so many verifiers, one in so many members, are served first while there is no
	// chain: so one soon is.
	verifiers  = 3
	verifierOf = 4
	// soonHere is how long a name counts as a member while a session is being opened.
	soonHere = 2 * second
	// successors are told at once of what they may hand on.
	successors = 3
)

func newOrder(d blob.Digest, self PeerID) order {
	return order{self: rendezvousSeed(d, self), stale: true, until: never, fades: never}
}

// arrange works the orders out anew if the peers changed.
func (m *Machine) arrange(s *swarm) {
	o := &s.order
	line := o.stale || m.now >= o.until
	if !line && !o.named && m.now < o.fades {
		return
	}
	o.stale, o.named = false, false
	m.chooseReaders(s)
	if line {
		m.formLine(s)
	}
}

// formLine works out the line, and who comes next in it.
func (m *Machine) formLine(s *swarm) {
	o := &s.order
	o.until = never
	o.line = append(o.line[:0], s.sorted...)
	at := rendezvous(o.self, onRing)
	slices.SortFunc(o.line, func(a, b *peer) int {
		return cmp.Or(cmp.Compare(at-a.place, at-b.place), cmp.Compare(a.id, b.id))
	})
	between := 0
	o.fingers = o.fingers[:0]
	for _, p := range o.line {
		p.between = between
		switch {
		case p.seeder(), !p.counts():
		case p.skipUntil > m.now:
			o.until = min(o.until, p.skipUntil)
		default:
			between++
			if isFinger(between) {
				o.fingers = append(o.fingers, p)
			}
		}
	}
	o.next = o.next[:0]
	after := 0
	for _, p := range slices.Backward(o.line) {
		if p.seeder() {
			continue
		}
		if after++; after <= successors || s.crowd() && isFinger(after) {
			o.next = append(o.next, p)
		}
	}
}

// isFinger reports whether the n-th member before a node on the ring, from 1 on, is one of its fingers.
func isFinger(n int) bool { return n&(n-1) == 0 }

// chooseReaders marks who of the peers shares the upstream reads, and who verifies: the
// weightiest of all members: in session, about to be, or without room for this node. Of whom it
// only knows the name it takes for members those for whom it has no room itself: the others will
// soon be here, or are not.
func (m *Machine) chooseReaders(s *swarm) {
	o := &s.order
	o.fades = never
	o.ranks = slices.Grow(o.ranks[:0], int(s.n))[:s.n]
	clear(o.ranks)
	weights := o.weights[:0]
	for _, p := range s.sorted {
		if !p.seeder() {
			weights = append(weights, p.weight)
		}
	}
	if m.crowded(s) { // names alone may be invented
		for _, c := range s.hood.known.list {
			weights = append(weights, c.weight)
		}
	}
	for id, until := range s.hood.elsewhere {
		if m.now < until {
			weights = append(weights, newCandidate(s.blob, id).weight)
		}
	}
	for _, c := range s.hood.connecting {
		if at := c.since + soonHere; m.now < at {
			weights = append(weights, c.weight)
			o.fades = min(o.fades, at)
		}
	}
	own := rendezvous(o.self, wholeBlob)
	weights = append(weights, own)
	slices.Sort(weights)
	o.weights = weights
	least := func(count int) uint64 { return weights[len(weights)-min(count, len(weights))] }
	s.cutRuns(min(m.readers(s), len(weights)))
	reads, verifies := least(m.readers(s)), least(min(verifiers, max(1, len(weights)/verifierOf)))
	o.reader, o.least = own >= reads, reads
	for _, p := range s.sorted {
		p.reader, p.verifier = p.weight >= reads, p.weight >= verifies
	}
	s.proof.first = own >= verifies
}

// crowded reports whether this node has no room for all whose names it knows.
func (m *Machine) crowded(s *swarm) bool {
	return len(s.sorted)+len(s.hood.connecting) >= m.neighbours(s)
}

// readers is how many members share the upstream reads of the blob.
func (m *Machine) readers(s *swarm) int {
	const least = 4
	return min(m.cfg.Readers, m.neighbours(s), max(least, int(s.n)))
}

// rank is how many readers in session come before this node for a run.
func (m *Machine) rank(s *swarm, k blob.ChunkIndex) int {
	m.arrange(s)
	r := &s.order.ranks[k]
	if r.known {
		return r.value
	}
	*r = rank{known: true, value: s.rankAmong(s.sorted, k)}
	return r.value
}

// rankAmong is how many of the peers share the reads and come before this node for a run.
func (s *swarm) rankAmong(peers []*peer, k blob.ChunkIndex) int {
	n := 0
	for _, p := range peers {
		if p.sharesReads() && s.before(p, k) {
			n++
		}
	}
	return n
}

// sharesReads reports whether a peer is one of those who may have the duty of a run.
func (p *peer) sharesReads() bool { return p.reader && !p.seeder() }

// before reports whether a peer comes before this node for a run.
func (s *swarm) before(p *peer, k blob.ChunkIndex) bool {
	run := s.number(k)
	return rendezvous(p.seed, run) > rendezvous(s.order.self, run)
}

// rendezvousSeed is a member's part of the rendezvous hash for a blob. Every node
// computes the same: it is part of how the swarm agrees, as the wire format is.
func rendezvousSeed(d blob.Digest, id PeerID) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a, 64 bits
	h := uint64(offset)
	for _, b := range d {
		h = (h ^ uint64(b)) * prime
	}
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * prime
	}
	return h
}

// rendezvous is the weight of a member for one run: the highest has the duty.
func rendezvous(seed uint64, run int) uint64 {
	h := seed + uint64(run)*0x9E3779B97F4A7C15 // the finalizer of SplitMix64
	h = (h ^ h>>30) * 0xBF58476D1CE4E5B9
	h = (h ^ h>>27) * 0x94D049BB133111EB
	return h ^ h>>31
}
