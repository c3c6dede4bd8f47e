package scheduler

import (
	"cmp"
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
)

// An ask is one chunk asked of one peer.
type ask struct {
	peer  *peer
	chunk blob.ChunkIndex
	at    Time
}

// asks are what this node asked of peers for one blob.
type asks struct {
	open   []*ask // oldest first
	window int    // how many may be open, times windowUnit
	took   []Time // the latest answers' durations, as a ring
	tookAt int
	p95    Time // of took; 0 without any
	pace   pace
}

const (
	// windowUnit lets the window grow by a fraction for each answer.
	windowUnit = 16
	samples    = 32
	// endgame is how few chunks may be left for a second peer to be tried at the p95.
	endgame = 4
	// maxHedges bounds the changes of peer for one slow chunk.
	maxHedges = 2
	// hedgeMin is the least age of an ask that is called slow.
	hedgeMin = 200 * millisecond
	// maxAvoid bounds the peers remembered for one chunk.
	maxAvoid = 8
)

// ask asks peers for chunks while the window has room: the rarest first with random
// ties, or, with a chain, tail first, because only what is anchored may be passed on.
func (m *Machine) ask(s *swarm) {
	if s.mend.solo {
		return
	}
	if s.asks.window == 0 {
		s.asks.window = m.cfg.AsksMin * windowUnit
	}
	for len(s.asks.open) < s.asks.window/windowUnit && m.anyAskable(s) {
		i, p := m.nextAsk(s)
		if p == nil {
			return
		}
		m.startAsk(s, p, i)
	}
}

// anyAskable reports whether some peer has room for an ask, and wakes for those that rest.
func (m *Machine) anyAskable(s *swarm) bool {
	found := false
	for _, p := range s.sorted {
		switch {
		case p.asks >= m.cfg.AsksPerPeer || p.count == 0:
		case m.now < p.restUntil:
			m.wakeAt(s, p.restUntil)
		default:
			found = true
		}
	}
	return found
}

func (m *Machine) askable(p *peer) bool { return p.asks < m.cfg.AsksPerPeer && m.now >= p.restUntil }

// nextAsk chooses the chunk to ask for next, and of whom.
func (m *Machine) nextAsk(s *swarm) (blob.ChunkIndex, *peer) {
	if s.proof.has {
		for i := s.n - 1; i >= 0; i-- {
			if m.wanted(s, i) {
				if p := m.bestPeer(s, i, nil); p != nil {
					return i, p
				}
			}
		}
		return 0, nil
	}
	var best blob.ChunkIndex
	var from *peer
	for i := range s.n {
		if !m.wanted(s, i) || from != nil && !s.rarer(i, best) {
			continue
		}
		if p := m.bestPeer(s, i, nil); p != nil {
			best, from = i, p
		}
	}
	return best, from
}

func (s *swarm) rarer(a, b blob.ChunkIndex) bool {
	return cmp.Or(cmp.Compare(s.holders[a], s.holders[b]), cmp.Compare(s.chunks[a].tie, s.chunks[b].tie)) < 0
}

// wanted reports whether a chunk should be asked of peers.
func (m *Machine) wanted(s *swarm, i blob.ChunkIndex) bool {
	c := &s.chunks[i]
	return c.state == missing && c.ask == nil && s.holders[i] > 0 && !m.comingSoon(s, i)
}

// bestPeer chooses who is asked for a chunk: same zone first, then whoever should
// deliver it soonest. It returns nil when nobody can be asked now.
func (m *Machine) bestPeer(s *swarm, i blob.ChunkIndex, except *peer) *peer {
	var best *peer
	for _, p := range s.sorted {
		if p == except || !m.askable(p) || !p.has.Has(i) || slices.Contains(s.chunks[i].avoid, p.id) {
			continue
		}
		if best == nil || m.better(s, i, p, best) {
			best = p
		}
	}
	return best
}

func (m *Machine) better(s *swarm, i blob.ChunkIndex, a, b *peer) bool {
	far := func(p *peer) int {
		if p.zone == m.cfg.Zone {
			return 0
		}
		return 1
	}
	// What has not been measured counts as fast, so that it gets measured.
	wait := func(p *peer) int64 {
		if p.rate == 0 {
			return int64(p.asks)
		}
		return int64(p.asks+1) * int64(s.geometry.ChunkSize()) * 1000 / p.rate
	}
	tie := func(p *peer) uint64 { return rendezvous(p.seed, int(i)) }
	return cmp.Or(cmp.Compare(far(a), far(b)), cmp.Compare(wait(a), wait(b)), cmp.Compare(tie(a), tie(b))) < 0
}

func (m *Machine) startAsk(s *swarm, p *peer, i blob.ChunkIndex) {
	a := &ask{peer: p, chunk: i, at: m.now}
	if len(s.asks.open) == 0 {
		s.asks.pace = pace{since: m.now, slow: s.asks.pace.slow}
	}
	s.asks.open = append(s.asks.open, a)
	s.chunks[i].ask = a
	p.asks++
	m.wakeAt(s, m.now+m.askTimeout(s))
	m.do(AskPeer{Blob: s.blob, Peer: p.id, Chunk: i})
}

// closeAsk forgets an ask.
func (s *swarm) closeAsk(a *ask) {
	s.asks.open = slices.DeleteFunc(s.asks.open, func(b *ask) bool { return a == b })
	s.chunks[a.chunk].ask = nil
	a.peer.asks--
}

// cancelAsk takes an ask back.
func (m *Machine) cancelAsk(s *swarm, a *ask) {
	s.closeAsk(a)
	m.do(CancelAsk{Blob: s.blob, Peer: a.peer.id, Chunk: a.chunk})
}

// avoidPeer has a chunk no longer asked of a peer.
func (s *swarm) avoidPeer(i blob.ChunkIndex, id PeerID) {
	c := &s.chunks[i]
	if id == "" || slices.Contains(c.avoid, id) {
		return
	}
	if len(c.avoid) >= maxAvoid {
		c.avoid = c.avoid[1:]
	}
	c.avoid = append(c.avoid, id)
}

// chunkArrived records a chunk from a peer. It may have been asked of another meanwhile.
func (m *Machine) chunkArrived(s *swarm, ev ChunkArrived) {
	if !s.geometry.Valid(ev.Chunk) || s.chunks[ev.Chunk].state != missing {
		return
	}
	c := &s.chunks[ev.Chunk]
	if a := c.ask; a != nil && a.peer.id == ev.Peer {
		m.measure(s, a)
		s.closeAsk(a)
	}
	m.gain(s, ev.Chunk, quarantined)
	c.sender = ev.Peer
	s.asks.pace.bytes += s.geometry.Length(ev.Chunk)
}

// measure learns from an answer how fast peer and swarm are.
func (m *Machine) measure(s *swarm, a *ask) {
	p, took := a.peer, max(m.now-a.at, millisecond)
	p.strikes, p.refusals = 0, 0
	rate := max(1, int64(s.geometry.Length(a.chunk))*int64(second)/int64(took))
	if p.rate > 0 {
		rate = max(1, (3*p.rate+rate)/4)
	}
	p.rate = rate
	k := &s.asks
	if len(k.took) < samples {
		k.took = append(k.took, took)
	} else {
		k.took[k.tookAt] = took
		k.tookAt = (k.tookAt + 1) % samples
	}
	sorted := slices.Sorted(slices.Values(k.took))
	k.p95 = sorted[len(sorted)*95/100]
	k.window = min(k.window+windowUnit/4, m.cfg.AsksMax*windowUnit)
}

// askTimeout is how long an ask may go unanswered.
func (m *Machine) askTimeout(s *swarm) Time {
	t := 3 * s.asks.p95
	if s.asks.p95 == 0 {
		t = m.cfg.AskTimeMin + s.slowChunk()
	}
	return min(max(t, m.cfg.AskTimeMin), m.cfg.AskTimeMax)
}

// A pace is what peers deliver while something is asked of them.
type pace struct {
	since Time
	bytes blob.ByteCount
	slow  bool // less than slowRate, the last time it was looked at
}

// slowRate is the least that a swarm must deliver, in bytes a second, to be left alone.
const slowRate = blob.MiB

// slowSwarm reports whether peers deliver less than slowRate while this node asks them.
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
	*p = pace{since: m.now, slow: int64(p.bytes)/seconds < int64(slowRate)}
	return p.slow
}

// slowChunk is how long a chunk takes at slowRate.
func (s *swarm) slowChunk() Time {
	return Time(int64(s.geometry.ChunkSize()) * int64(second) / int64(slowRate))
}

// expireAsks gives up on asks without an answer, and on peers that leave several in a row.
func (m *Machine) expireAsks(s *swarm) {
	timeout := m.askTimeout(s)
	for _, a := range slices.Clone(s.asks.open) {
		if s.chunks[a.chunk].ask != a {
			continue // its peer was disconnected in this loop
		}
		if at := a.at + timeout; m.now < at {
			m.wakeAt(s, at)
			continue
		}
		m.cancelAsk(s, a)
		s.avoidPeer(a.chunk, a.peer.id)
		s.asks.window = max(s.asks.window/2, m.cfg.AsksMin*windowUnit)
		a.peer.strikes++
		a.peer.restUntil = m.now + second
		if a.peer.strikes >= maxStrikes || a.peer.rate == 0 && a.peer.strikes >= maxStrikes-1 {
			shun(s.hood.struck, a.peer.id, m.now, m.now+minute)
			m.disconnect(s, a.peer)
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
	if m.now < p.restUntil {
		return // the same refusal, of another chunk
	}
	pause := 50 * millisecond << min(p.refusals, 5)
	p.refusals++
	p.restUntil = m.now + pause/2 + Time(m.random.Int64N(int64(pause)))
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
		p := m.bestPeer(s, a.chunk, a.peer)
		if p == nil {
			continue
		}
		c.hedges++
		m.cancelAsk(s, a)
		m.startAsk(s, p, a.chunk)
	}
}
