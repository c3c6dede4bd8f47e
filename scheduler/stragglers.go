package scheduler

import (
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
)

const (
	// endgame is how few chunks may be left for a second peer to be tried at the p95.
	endgame = 4
	// maxHedges bounds the changes of peer for one slow chunk.
	maxHedges = 2
	// hedgeMin is the least age of an ask that is called slow.
	hedgeMin = 200 * millisecond
	// silentSeeder is how long a seeder that never delivered anything may leave an ask unanswered, and what
	// two slow chunks take: it has nothing to wait for itself.
	silentSeeder = second
	// maxRound bounds how long more a peer may refuse for the size of the crowd, which others can invent.
	maxRound = 30 * second
	// maxStrikes is how many asks in a row a peer may leave unanswered; a peer that never delivered
	// anything may none: what only it has is waited for.
	maxStrikes = 3
)

// askTimeout is how long an ask of a peer may go unanswered. It may wait in a full queue at the
// other end for good reason.
func (m *Machine) askTimeout(s *swarm, p *peer) Time {
	const queued, few = 8, 2
	least := m.cfg.AskTimeMin + queued*s.slowChunk()
	timeout := max(least, min(3*s.asks.p95, max(m.cfg.AskTimeMax, 2*least)))
	if p.rate == 0 && p.seeder() {
		return min(timeout, silentSeeder+few*s.slowChunk())
	}
	return timeout
}

// expireAsks gives up on asks without an answer, and lets peers be that leave several in a row.
func (m *Machine) expireAsks(s *swarm) {
	for _, a := range slices.Clone(s.asks.open) {
		if s.chunks[a.chunk].ask != a {
			continue // its peer was disconnected in this loop
		}
		p := a.peer
		if at := a.at + m.askTimeout(s, p); m.now < at {
			m.wakeAt(s, at)
			continue
		}
		m.cancelAsk(s, a)
		s.asks.window = max(s.asks.window/2, m.cfg.AsksMin*windowUnit)
		p.strikes++
		p.restUntil = m.now + rest(p.strikes)
		m.failed(s, p)
		if p.strikes >= maxStrikes || p.rate == 0 {
			m.letBe(p)
		}
	}
}

// letBe asks nothing more of a peer for a while. It may be slow and want something itself, so
// the session stays. Nor is it asked for other blobs, if it never delivered any of them.
func (m *Machine) letBe(p *peer) {
	for _, o := range m.order {
		if q := o.peers[p.id]; q != nil && (q == p || q.rate == 0) {
			q.restUntil = m.now + minute
			m.discount(o, q)
			o.dirty = true
		}
	}
}

// peerRefused takes a busy answer: the peer rests, and the chunk may be asked of others.
func (m *Machine) peerRefused(s *swarm, ev PeerRefused) {
	if s.proven || !s.geometry.Valid(ev.Chunk) {
		return
	}
	a := s.chunks[ev.Chunk].ask
	if a == nil || a.peer.id != ev.Peer {
		return
	}
	s.closeAsk(a)
	p := a.peer
	m.failed(s, p)
	if m.now < p.restUntil {
		return // the same refusal, of another chunk
	}
	pause := 50 * millisecond << min(p.refusals, 5)
	p.refusals++
	p.restUntil = m.now + pause/2 + Time(m.random.Int64N(int64(pause)))
}

// failed records that a peer did not deliver. One that does nothing else for a while is asked
// still, but what it says it has counts as nobody's.
func (m *Machine) failed(s *swarm, p *peer) {
	if p.failing == never {
		p.failing = m.now
	}
	const busy = 4
	patience := m.patience(s)
	if m.now-s.lastGain < patience/2 {
		patience = busy*patience + min(s.round(), maxRound) // others deliver: what this one has can wait for its turn there
	}
	if m.now-p.failing >= patience {
		m.discount(s, p)
	}
}

// discountAll has nothing count that peers say they have, until they deliver, when nothing came of
// anybody for so long that this node must help itself. Of a line it asks but the nearest, so it
// cannot know who of the others would deliver: what they have is read like what nobody has, by
// all in turn.
func (m *Machine) discountAll(s *swarm) {
	for _, p := range s.sorted {
		m.discount(s, p)
	}
}

// hedge moves the last few chunks from a slow peer to another at the p95 of latencies.
func (m *Machine) hedge(s *swarm) {
	if s.missing > endgame || s.asks.p95 == 0 || s.mend.solo {
		return
	}
	slow := max(s.asks.p95+s.asks.p95/2, hedgeMin)
	for _, a := range slices.Clone(s.asks.open) {
		c := &s.chunks[a.chunk]
		if c.hedges >= maxHedges {
			continue
		}
		if at := a.at + slow; m.now < at {
			m.wakeAt(s, at)
			continue
		}
		p := m.bestPeer(s, a.chunk, m.cfg.AsksPerPeer, func(p *peer, i blob.ChunkIndex) bool {
			return p != a.peer && s.offers(p, i)
		})
		if p == nil {
			continue
		}
		c.hedges++
		m.cancelAsk(s, a)
		m.startAsk(s, p, a.chunk)
		m.wakeAt(s, m.now+slow)
	}
}

// A pace is what peers deliver while something is asked of them.
type pace struct {
	since Time
	bytes int64
	slow  bool // less than slowRate, the last time it was looked at
}

// slowSwarm reports whether peers deliver less than slowRate while this node asks them, or the
// blob's part of that where several are downloaded.
func (m *Machine) slowSwarm(s *swarm) bool {
	p := &s.asks.pace
	if len(s.asks.open) == 0 {
		return false
	}
	if at := p.since + m.patience(s); m.now < at {
		m.wakeAt(s, at)
		return p.slow
	}
	seconds := max(1, int64((m.now-p.since)/second))
	*p = pace{since: m.now, slow: p.bytes/seconds < int64(slowRate)/int64(m.downloads())}
	return p.slow
}
