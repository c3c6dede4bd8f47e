package scheduler

import (
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
)

// claims are the chunks that peers say they read from upstream now.
type claims struct {
	chunks blob.Bitset // of those that are believed
	shared blob.Bitset // and of those the ones that two peers name: one takes over from the other
	until  Time        // when the first of them stops being believed
	stale  bool
	told   []Span // what peers were told that this node reads
	pace   Time   // between two chunks that one peer reads, smoothed
}

// maxIdleClaims is how often a peer may say that it reads something else without ever
// bringing a chunk before its word does not buy time any more.
const maxIdleClaims = 8

// maxCuts is how many reads of this node's a peer may cut short without delivering anything.
const maxCuts = 2

func newClaims(n blob.ChunkIndex) claims {
	return claims{chunks: blob.NewBitset(n), shared: blob.NewBitset(n), until: never, stale: true}
}

// smooth takes one more measurement into a moving average; 0 is none yet.
func smooth(average, took Time) Time {
	if average == 0 {
		return took
	}
	return average + (took-average)/8
}

// peerReads takes a peer's word about what it reads. Where this node reads the same, one
// of the two stops: the one with the lower weight where both began a run, and the one that
// is further behind where the other took the rest.
func (m *Machine) peerReads(s *swarm, ev PeerReads) {
	p := s.peers[ev.Peer]
	if p == nil || s.proven {
		return
	}
	spans := make([]Span, 0, len(ev.Spans))
	for _, x := range ev.Spans[:min(len(ev.Spans), MaxSpans)] {
		if !s.geometry.Valid(x.First) || x.Count < 1 || x.Count > s.n-x.First {
			m.quarantine(p.id, s.blob, "said it reads chunks beyond the end of the blob")
			return
		}
		spans = append(spans, Span{x.First, min(x.Count, s.widestRun()-x.First%s.widestRun())})
	}
	if slices.Equal(p.reads, spans) {
		return
	}
	p.reads, p.readsAt = spans, m.now
	p.tookPart = true
	s.claims.stale = true
	if p.idleClaims++; p.idleClaims > maxIdleClaims {
		return
	}
	p.lastFresh = m.now
	for _, x := range spans {
		m.yieldTo(s, p, x)
	}
}

// yieldTo ends this node's reads where a peer's goes on.
func (m *Machine) yieldTo(s *swarm, p *peer, x Span) {
	for _, r := range s.up.reads {
		if r.cancelled || x.End() <= r.next || x.First >= r.end {
			continue
		}
		switch {
		case x.First > r.next:
			if p.cuts < maxCuts {
				p.cuts++
				s.cutRead(r, x.First)
			}
		case s.before(p, s.runOf(x.First)):
			m.cancelRead(s, r)
			s.up.idleSince = m.now // as when a read ends
		}
	}
}

// fresh records that a peer told a chunk that nobody here knew of: it must have read it
// from upstream.
func (m *Machine) fresh(s *swarm, p *peer) {
	if since := m.now - p.lastFresh; len(p.reads) > 0 && since > 0 {
		// What one peer takes must not make all wait without end.
		s.claims.pace = smooth(s.claims.pace, min(since, m.leastPatience(s)))
	}
	p.lastFresh, p.idleClaims = m.now, 0
	s.claims.until = min(s.claims.until, m.now) // it may last longer now
}

// claimed are the chunks that others read now, as far as they are believed: a peer that
// brings nothing for a while is passed over.
func (m *Machine) claimed(s *swarm) blob.Bitset {
	c := &s.claims
	if !c.stale && m.now < c.until {
		return c.chunks
	}
	c.chunks, c.shared, c.until, c.stale = blob.NewBitset(s.n), blob.NewBitset(s.n), never, false
	patience := m.patience(s)
	for _, p := range s.sorted {
		end := p.lastFresh + patience
		if len(p.reads) == 0 {
			continue
		}
		if end <= m.now {
			s.up.idleSince = max(s.up.idleSince, end) // for others to read, but not for all at once
			continue
		}
		c.until = min(c.until, end)
		for _, x := range p.reads {
			for i := x.First; i < x.End(); i++ {
				if !c.chunks.Add(i) {
					c.shared.Add(i)
				}
			}
		}
	}
	return c.chunks
}

// patience is how long a peer may bring nothing new before it is passed over. Where the
// registry is slow for everybody, this node's own reads show it.
func (m *Machine) patience(s *swarm) Time {
	pace := max(s.claims.pace, s.up.pace)
	for _, r := range s.up.reads {
		if !r.cancelled {
			pace = max(pace, m.now-r.lastAt)
		}
	}
	return m.leastPatience(s) + 3*pace
}

func (m *Machine) leastPatience(s *swarm) Time { return m.cfg.Patience + s.slowChunk() }

// slowRate is the least that a swarm must deliver, in bytes a second, to be left alone.
const slowRate = blob.MiB

// slowChunk is how long a chunk takes at slowRate.
func (s *swarm) slowChunk() Time {
	return Time(int64(s.geometry.ChunkSize()) * int64(second) / int64(slowRate))
}

// tellReading lets the peers know what this node reads, as soon as that changes, and what
// came of it before: between the two words others would take it for unread.
func (m *Machine) tellReading(s *swarm) {
	spans := s.reading()
	if slices.Equal(spans, s.claims.told) {
		return
	}
	s.claims.told = spans
	if s.tells.news > 0 {
		m.tellAll(s, s.tells.late)
	}
	var to []PeerID
	for _, p := range s.sorted {
		if !p.seeder() {
			to = append(to, p.id)
		}
	}
	if len(to) > 0 {
		m.do(TellReading{Blob: s.blob, Peers: to, Spans: spans})
	}
}

// reading is what this node reads now: of the read of a whole gap, the run where it is.
func (s *swarm) reading() []Span {
	var spans []Span
	for _, r := range s.up.reads {
		if !r.cancelled && r.soon > r.from && len(spans) < MaxSpans {
			spans = append(spans, Span{r.from, r.soon - r.from})
		}
	}
	slices.SortFunc(spans, func(a, b Span) int { return int(a.First - b.First) })
	return spans
}
