package scheduler

import (
	"cmp"
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A mendStage says how a download whose digest did not come out is being put right.
type mendStage uint8

const (
	mendNothing mendStage = iota
	mendChain             // a peer may send a chain, whose links tell which chunk is wrong
	mendAudit             // chunks from peers are read again, one after another
)

// mending is the repair of a download whose digest did not come out without a chain.
type mending struct {
	stage  mendStage
	since  Time
	audits int  // under way, for whatever reason
	drops  int  // how often everything from peers was dropped unaudited
	rounds int  // how often the digest did not come out
	solo   bool // what is missing is read from upstream, alone
	reread bool // and that is everything
}

const (
	// chainWait is how long a mismatch waits for a chain before it costs registry reads.
	chainWait = second
	// auditStagger spreads a swarm's audits: who ranks r for a run audits it r times later.
	auditStagger = second
	maxAuditRank = 8
	maxAudits    = 2 // at a time
	maxDrops     = 3
	// maxRounds is how often liars are looked for before the rest is read from upstream alone.
	maxRounds = 3
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
	s.mend.rounds++
	switch {
	case len(suspects) == 0:
		m.readAlone(s)
	case s.mend.rounds > maxRounds && s.up.usable():
		s.mend.solo = true
		for _, id := range suspects {
			m.dropFrom(s, id)
		}
	case len(suspects) == 1 && suspects[0] != "" && s.servable.Count() == 0:
		m.quarantine(suspects[0], s.blob, "sent a blob that does not match its digest")
		m.dropFrom(s, suspects[0])
	default:
		s.mend.stage, s.mend.since = mendChain, m.now
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
	s.mend.solo, s.mend.reread, s.mend.stage = true, true, mendNothing
	for i := range s.n {
		if s.chunks[i].state != missing {
			m.drop(s, i)
		}
	}
}

// repair carries a mending on.
func (m *Machine) repair(s *swarm) {
	d := &s.mend
	if d.stage == mendNothing {
		return
	}
	if s.proof.has || len(s.proof.waiting) > 0 {
		d.stage = mendNothing
		return
	}
	if at := d.since + chainWait; d.stage == mendChain && len(s.sorted) > 0 && m.now < at {
		m.wakeAt(s, at)
		return
	}
	d.stage = mendAudit
	if s.up.usable() {
		m.auditSuspects(s)
		return
	}
	// Without a registry nobody can be blamed: the same chunks from other peers may do.
	d.stage = mendNothing
	if d.drops++; d.drops > maxDrops {
		m.abandon(s, cmp.Or(s.up.refused, FaultNoSource))
		return
	}
	for _, id := range s.senders() {
		m.dropFrom(s, id)
	}
}

// auditSuspects reads Q chunks again, those of the runs first for which this node ranks
// high, so that a swarm shares the work; the first to find the liar has a chain for all.
func (m *Machine) auditSuspects(s *swarm) {
	d := &s.mend
	type suspect struct {
		rank  int
		chunk blob.ChunkIndex
	}
	var suspects []suspect
	self := rendezvousSeed(s.blob, m.cfg.Self)
	for k := range s.runs {
		rank := -1
		first, end := m.bounds(s, k)
		for i := first; i < end; i++ {
			if s.chunks[i].state != quarantined || s.chunks[i].auditing {
				continue
			}
			if rank < 0 {
				rank = min(m.stand(s, k, self).rank, maxAuditRank)
			}
			suspects = append(suspects, suspect{rank, i})
		}
	}
	if len(suspects) == 0 {
		if d.audits == 0 {
			d.stage = mendNothing
		}
		return
	}
	if m.now < s.up.retryAt {
		m.wakeAt(s, s.up.retryAt)
		return
	}
	slices.SortFunc(suspects, func(a, b suspect) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.chunk, b.chunk))
	})
	for _, x := range suspects {
		if d.audits >= maxAudits {
			return
		}
		if at := d.since + chainWait + Time(max(0, x.rank-1))*auditStagger; m.now < at {
			m.wakeAt(s, at)
			return
		}
		m.audit(s, x.chunk)
	}
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
	c.linked, c.suspect = c.linked && ev.Same, false
	if c.state != verified {
		m.gain(s, ev.Chunk, registry)
	}
	if ev.Same {
		return // if the link fails again, the chain's supplier lied
	}
	m.prefixChanged(s, ev.Chunk)
	m.quarantine(sender, s.blob, "sent a chunk that differs from the registry's")
	if s.mend.stage == mendAudit {
		m.dropFrom(s, sender)
		s.mend.stage = mendNothing // hash again before more is audited
	}
}
