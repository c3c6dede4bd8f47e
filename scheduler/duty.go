package scheduler

import (
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A run is what the Machine knows about adjacent chunks that one upstream read brings.
type run struct {
	wanted   bool   // nobody known had a chunk of it once
	wantedAt Time   // when that was first seen
	claim    PeerID // who last told a chunk of it that nobody had: it is reading the run
	claimAt  Time
	claimed  int  // chunks that the claimant told in a row
	since    Time // its first
}

// runChunks is the number of chunks in a run.
func (s *swarm) runChunks(length blob.ByteCount) blob.ChunkIndex {
	return blob.ChunkIndex(max(1, length/max(1, s.geometry.ChunkSize())))
}

func (s *swarm) runOf(i blob.ChunkIndex, length blob.ByteCount) int {
	return int(i / s.runChunks(length))
}

// bounds are the chunks of a run, from first up to but not including end.
func (m *Machine) bounds(s *swarm, k int) (first, end blob.ChunkIndex) {
	n := s.runChunks(m.cfg.Run)
	return blob.ChunkIndex(k) * n, min((blob.ChunkIndex(k)+1)*n, s.n)
}

// claim records that a peer told a chunk that nobody here knew of: it must have read it
// from upstream, and is probably reading the rest of the run.
func (m *Machine) claim(s *swarm, p *peer, i blob.ChunkIndex) {
	p.lastFresh = m.now
	r := &s.runs[s.runOf(i, m.cfg.Run)]
	if r.claim != p.id {
		r.claim, r.claimed, r.since = p.id, 0, m.now
	}
	r.claimAt = m.now
	r.claimed++
}

// patience is how long a peer may tell nothing new before its duties pass to others.
func (m *Machine) patience(s *swarm) Time { return m.cfg.Patience + s.slowChunk() }

// covered reports whether some peer in session can be asked for the chunk.
func (s *swarm) covered(i blob.ChunkIndex) bool {
	if s.holders[i] == 0 {
		return false
	}
	avoid := s.chunks[i].avoid
	if len(avoid) == 0 {
		return true
	}
	for _, p := range s.sorted {
		if p.has.Has(i) && !slices.Contains(avoid, p.id) {
			return true
		}
	}
	return false
}

// uncovered reports whether only upstream can bring the chunk, and nothing is under way.
func (s *swarm) uncovered(i blob.ChunkIndex) bool {
	c := &s.chunks[i]
	return c.state == missing && c.read == 0 && c.ask == nil && !s.covered(i)
}

// stretch is the first row of chunks within bounds that want is true for.
func stretch(first, end blob.ChunkIndex, want func(blob.ChunkIndex) bool) (from, count blob.ChunkIndex) {
	from = first
	for from < end && !want(from) {
		from++
	}
	for from+count < end && want(from+count) {
		count++
	}
	return from, count
}

// A claimant is where this node stands for one run.
type claimant struct {
	rank int  // how many members come before it
	free bool // none of them is at work any more
	at   Time // when that may change; meaningless when free
}

// stand ranks this node for a run among the members in session that are not seeders. A
// member before it that keeps telling new chunks is at work; one that went silent is
// passed over, and one that left does not count.
func (m *Machine) stand(s *swarm, k int, self uint64) claimant {
	own := rendezvous(self, k)
	r := &s.runs[k]
	c := claimant{free: true}
	patience := m.patience(s)
	busy := func(since Time) {
		if at := max(since, r.wantedAt) + patience; m.now < at {
			if c.free || at > c.at {
				c.at = at
			}
			c.free = false
		}
	}
	for _, p := range s.sorted {
		if p.seeder() {
			continue
		}
		if w := rendezvous(p.seed, k); w > own || w == own && p.id > m.cfg.Self {
			c.rank++
			busy(p.lastFresh)
		} else if r.claim == p.id {
			busy(r.claimAt)
		}
	}
	return c
}

// duties starts the upstream reads that fall to this node, in order, or from the end
// when a chain lets the tail be passed on first.
func (m *Machine) duties(s *swarm) {
	if !m.settled(s) {
		return
	}
	self := rendezvousSeed(s.blob, m.cfg.Self)
	for at := range s.runs {
		if s.up.busy() >= m.cfg.Reads {
			return
		}
		k := at
		if s.proof.has {
			k = len(s.runs) - 1 - at
		}
		m.duty(s, k, self)
	}
}

// duty starts the read of one run if it falls to this node now.
func (m *Machine) duty(s *swarm, k int, self uint64) {
	first, end := m.bounds(s, k)
	from, count := stretch(first, end, s.uncovered)
	if count == 0 {
		return
	}
	r := &s.runs[k]
	if !r.wanted {
		r.wanted, r.wantedAt = true, m.now
	}
	c := m.stand(s, k, self)
	if !c.free {
		m.wakeAt(s, c.at)
		return
	}
	if at := r.wantedAt + Time(c.rank)*m.cfg.Stagger; m.now < at {
		m.wakeAt(s, at)
		return
	}
	m.startRead(s, from, count)
}

// steal reads a run that is another's duty when this node has had next to nothing to do
// for a while: at most one peer's chunks to wait for. It takes the last one, since its owner works from the front, and waits
// longer the lower it ranks, so that not everybody takes the same. Of a run that a slow
// peer is reading right now it takes the second half.
func (m *Machine) steal(s *swarm) {
	if len(s.asks.open) > m.cfg.AsksPerPeer || s.up.busy() > 0 || s.missing == 0 {
		s.up.idleSince = never
		return
	}
	if s.up.idleSince == never {
		s.up.idleSince = m.now
	}
	self := rendezvousSeed(s.blob, m.cfg.Self)
	for k := len(s.runs) - 1; k >= 0; k-- {
		first, end := m.bounds(s, k)
		from, count := stretch(first, end, s.uncovered)
		if count == 0 {
			continue
		}
		at := s.up.idleSince + s.slowChunk() + Time(max(1, m.stand(s, k, self).rank))*m.cfg.StealAfter
		if r := &s.runs[k]; r.claimed > 0 && s.peers[r.claim] != nil && m.now < r.claimAt+m.patience(s) {
			if left := Time(count) * (m.now - r.since) / Time(r.claimed); left < 2*m.patience(s) {
				at = max(at, r.claimAt+m.patience(s)) // it will be done soon
			} else {
				from, count = from+count/2, count-count/2
			}
		}
		if m.now < at {
			m.wakeAt(s, at)
			continue
		}
		s.up.idleSince = never
		m.startRead(s, from, count)
		return
	}
}
