package scheduler

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
)

// mending is the repair of a download whose digest did not come out without a chain.
type mending struct {
	active bool
	since  Time              // of the latest mismatch
	took   Time              // until the first: as long as another member needs to come as far
	audits int               // under way, for whatever reason
	sample []blob.ChunkIndex // to be audited next, the last first
	each   int               // chunks of one sender in the latest sample
	found  bool              // one of the sample was wrong
	drops  int               // how often everything from peers was dropped unaudited
	rounds int               // how often the digest did not come out
	solo   bool              // what is missing is read from upstream, alone
	reread bool              // and that is everything
}

const (
	// chainWait is how long a mismatch waits at least for a chain before it costs registry reads.
	chainWait = second
	maxAudits = 4 // at a time
	maxDrops  = 3
	// maxRounds is how often liars are looked for before the rest is read from upstream alone:
	// samples that double come to an end sooner, unless new liars keep coming.
	maxRounds = 8
)

// audit reads a chunk from upstream again.
func (m *Machine) audit(s *swarm, i blob.ChunkIndex) {
	s.chunks[i].auditing = true
	s.mend.audits++
	m.do(AuditChunk{Blob: s.blob, Chunk: i})
}

// mismatched begins to mend a blob whose digest did not come out. R chunks are right and
// V chunks proven, so a chunk from a peer is wrong; if one peer sent them all it is that one.
func (m *Machine) mismatched(s *swarm) {
	suspects := s.senders()
	d := &s.mend
	if d.rounds++; d.rounds == 1 {
		d.took = m.now - s.started
	}
	switch {
	case len(suspects) == 0:
		m.readAlone(s)
	case d.rounds > maxRounds && s.up.usable():
		d.solo = true
		for _, id := range suspects {
			m.dropFrom(s, id)
		}
	case len(suspects) == 1 && suspects[0] != "" && s.servable.Count() == 0:
		m.quarantine(suspects[0], s.blob, "sent a blob that does not match its digest")
		m.dropFrom(s, suspects[0])
	default:
		d.active, d.since = true, m.now
	}
}

// senders are who sent the Q chunks, in order; the empty PeerID stands for an earlier life.
func (s *swarm) senders() []PeerID {
	var ids []PeerID
	for i := range s.chunks {
		if s.chunks[i].state == quarantined {
			ids = append(ids, s.chunks[i].sender)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// dropFrom forgets every Q chunk of one sender.
func (m *Machine) dropFrom(s *swarm, sender PeerID) {
	for i := range s.n {
		if c := &s.chunks[i]; c.state == quarantined && c.sender == sender && !c.auditing {
			s.avoidPeer(i, sender)
			m.drop(s, i)
		}
	}
}

// readAlone drops everything and reads it from upstream without anybody's help, once. A
// registry that then still serves other bytes than the digest names does not have the blob,
// and nothing of what it sent is worth keeping.
func (m *Machine) readAlone(s *swarm) {
	switch {
	case s.mend.reread:
		m.abandon(s, FaultMismatch)
		return
	case !s.up.usable():
		m.abandon(s, cmp.Or(s.up.refused, FaultNoSource))
		return
	}
	if s.proof.has {
		m.refute(s, false)
	}
	m.cancelEverything(s)
	s.mend.solo, s.mend.reread, s.mend.active = true, true, false
	for i := range s.n {
		if s.chunks[i].state != missing {
			m.drop(s, i)
		}
	}
}

// repair carries a mending on.
func (m *Machine) repair(s *swarm) {
	d := &s.mend
	switch {
	case !d.active:
	case s.proof.has || len(s.proof.waiting) > 0:
		d.active, d.sample = false, nil
	case s.up.usable():
		m.auditSample(s)
	case m.turnCame(s):
		m.dropUnaudited(s)
	}
}

// dropUnaudited drops what peers sent. Without a registry nobody can be blamed: the same chunks
// from other peers may do.
func (m *Machine) dropUnaudited(s *swarm) {
	s.mend.active = false
	if s.mend.drops++; s.mend.drops > maxDrops {
		m.abandon(s, cmp.Or(s.up.refused, FaultNoSource))
		return
	}
	for _, id := range s.senders() {
		m.dropFrom(s, id)
	}
}

// turnCame reports whether this node need not wait any more for somebody else to find out what
// is wrong: whoever has mended its blob has a chain for all. The weightiest members look first,
// a few for what little the first sample costs, and one where a liar that is careful has a large
// part of the blob read again. Then twice as many have their turn, and so on: a liar that makes
// itself the weightiest wins one turn, and sixteen that do win five.
func (m *Machine) turnCame(s *swarm) bool {
	d := &s.mend
	if len(s.sorted) == 0 {
		return true
	}
	first := 1
	if d.each == 0 {
		first = verifiers
	}
	turn := Time(bits.Len(uint(s.heavier() / first)))
	return m.due(s, d.since+chainWait+turn*max(2*chainWait, d.took))
}

// heavier is how many of the peers in session come before this node by weight.
func (s *swarm) heavier() int {
	own, n := rendezvous(s.order.self, wholeBlob), 0
	for _, p := range s.sorted {
		if p.weight > own && !p.seeder() {
			n++
		}
	}
	return n
}

// auditSample reads a few Q chunks of every sender again. When that finds nobody, twice as
// many; when it does, what the liars sent is fetched elsewhere, and hashed.
func (m *Machine) auditSample(s *swarm) {
	d := &s.mend
	if len(d.sample) == 0 && d.audits == 0 {
		if d.found {
			d.active, d.found = false, false
			return
		}
		if !m.turnCame(s) {
			return
		}
		d.each = max(1, 2*d.each)
		if d.sample = s.sampleSenders(d.each); len(d.sample) == 0 {
			d.active = false
			return
		}
	}
	if !m.due(s, s.up.retryAt) {
		return
	}
	for len(d.sample) > 0 && d.audits < maxAudits {
		i := d.sample[len(d.sample)-1]
		d.sample = d.sample[:len(d.sample)-1]
		if c := &s.chunks[i]; c.state == quarantined && !c.auditing {
			m.audit(s, i)
		}
	}
}

// sampleSenders picks some Q chunks of every sender, whichever chance has put first.
func (s *swarm) sampleSenders(each int) []blob.ChunkIndex {
	var all []blob.ChunkIndex
	for i := range s.n {
		if c := &s.chunks[i]; c.state == quarantined && !c.auditing {
			all = append(all, i)
		}
	}
	slices.SortFunc(all, func(a, b blob.ChunkIndex) int { return cmp.Compare(s.chunks[a].tie, s.chunks[b].tie) })
	taken := map[PeerID]int{}
	return slices.DeleteFunc(all, func(i blob.ChunkIndex) bool {
		taken[s.chunks[i].sender]++
		return taken[s.chunks[i].sender] > each
	})
}

// chunkAudited takes the registry's word about a chunk.
func (m *Machine) chunkAudited(s *swarm, ev ChunkAudited) {
	if !s.geometry.Valid(ev.Chunk) || !s.chunks[ev.Chunk].auditing {
		return
	}
	c := &s.chunks[ev.Chunk]
	c.auditing = false
	s.mend.audits--
	if ev.Why != FaultNone {
		m.upstreamFault(s, ev.Why)
		if !s.ended && c.suspect {
			m.dropSuspect(s, ev.Chunk)
		}
		return
	}
	m.upstreamWorks(s)
	sender := c.sender
	s.setLinked(ev.Chunk, c.linked && ev.Same)
	c.suspect = false
	if c.state != verified {
		m.gain(s, ev.Chunk, registry)
	}
	if ev.Same {
		return // if the link fails again, the chain's supplier lied
	}
	m.prefixChanged(s, ev.Chunk)
	m.quarantine(sender, s.blob, "sent a chunk that differs from the registry's")
	if s.mend.active {
		m.dropFrom(s, sender)
		s.mend.found = true
	}
}
