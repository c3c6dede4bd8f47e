package scheduler

import (
	"cmp"
	"math/bits"
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
	lap    lap
	best   best
	took   []Time // the latest answers' durations, as a ring
	tookAt int
	p95    Time // of took; 0 without any
	pace   pace
}

const (
	// windowUnit lets the window grow by a fraction for each answer.
	windowUnit = 16
	samples    = 32
	// slowAnswer is how long an answer may take before the window shrinks: with more
	// underway, everything would only wait longer.
	slowAnswer = 2 * second
	// fewAsks is what one peer is asked for at a time where many have something.
	fewAsks = 2
)

// ask asks peers for chunks while the window has room: the rarest first with random
// ties, or, with a chain, tail first along the line, because only what is anchored may
// be passed on.
func (m *Machine) ask(s *swarm) {
	if s.mend.solo {
		return
	}
	if s.asks.window == 0 {
		s.asks.window = min(2*m.cfg.AsksMin, m.cfg.AsksMax) * windowUnit
	}
	m.arrange(s) // it says whether this node verifies
	if at := min(s.order.until, s.order.fades); at != never {
		m.wakeAt(s, at)
	}
	choose := m.rarest
	if s.proof.has {
		choose = m.alongLine
	}
	for len(s.asks.open) < m.askRoom(s) {
		each := m.asksEach(s)
		if each == 0 {
			return
		}
		i, p := choose(s, each)
		if p == nil {
			return
		}
		m.startAsk(s, p, i)
	}
}

// askRoom is how many asks of the blob may be open: its own window, and its share of what
// this node may have open over all blobs.
func (m *Machine) askRoom(s *swarm) int {
	return min(s.asks.window/windowUnit, max(fewAsks, m.cfg.AsksAll/max(1, m.downloads())))
}

func (m *Machine) downloads() int {
	n := 0
	for _, s := range m.order {
		if !s.proven {
			n++
		}
	}
	return n
}

// asksEach is how many asks one peer may have, or 0 if nobody can be asked now. It wakes
// for peers that rest.
func (m *Machine) asksEach(s *swarm) int {
	useful, rested := 0, false
	for _, p := range s.sorted {
		switch {
		case p.count == 0 || p.doubted:
			continue
		case m.now < p.restUntil:
			m.wakeAt(s, p.restUntil)
		default:
			rested = true
		}
		useful++
	}
	if !rested {
		return 0
	}
	return min(max(fewAsks, s.asks.window/windowUnit/useful), m.cfg.AsksPerPeer)
}

func (m *Machine) askable(p *peer, each int) bool {
	return !p.doubted && p.asks < each && p.count > 0 && m.now >= p.restUntil
}

// rarest chooses the chunk that the fewest have, and who is asked for it. Whoever verifies
// goes from the front on, so that it hashes while it downloads. With a chain only what lies
// before a gap of its holder's is of this kind: the holder read it from upstream itself.
func (m *Machine) rarest(s *swarm, each int) (blob.ChunkIndex, *peer) {
	best := blob.ChunkIndex(-1)
	for _, p := range s.sorted {
		if !m.askable(p, each) || p.seeder() && !s.proof.refuted[p.id] && !m.due(s, p.seederAt+chainDue) || p.barren == s.wants {
			continue
		}
		barren := true
		for w := range s.wordsBeside(p) {
			for word := s.wanted.Word(w) & p.has.Word(w); word != 0; word &= word - 1 {
				i := blob.ChunkIndex(w*64 + bits.TrailingZeros64(word))
				if barren = false; s.besideLine(p, i) && (best < 0 || s.rarer(i, best)) {
					best = i
				}
			}
		}
		if barren {
			p.barren = s.wants
		}
	}
	if best < 0 {
		return 0, nil
	}
	return best, m.bestPeer(s, best, each, s.besideLine)
}

// wordsBeside is how many words of a peer's chunks may have such that it may be asked for outside the line.
func (s *swarm) wordsBeside(p *peer) int {
	if s.proof.has {
		return (int(p.suffix) + 63) / 64
	}
	return s.wanted.Words()
}

// besideLine reports whether a peer may be asked for a chunk that it has, outside the line.
func (s *swarm) besideLine(p *peer, i blob.ChunkIndex) bool {
	return s.offers(p, i) && (!s.proof.has || i < p.suffix)
}

func (s *swarm) rarer(a, b blob.ChunkIndex) bool {
	if s.proof.first {
		return a < b
	}
	return cmp.Or(cmp.Compare(s.holders[a], s.holders[b]), cmp.Compare(s.chunks[a].tie, s.chunks[b].tie)) < 0
}

// offers reports whether a peer has a chunk and may be asked for it.
func (s *swarm) offers(p *peer, i blob.ChunkIndex) bool {
	return p.has.Has(i) && !slices.Contains(s.chunks[i].avoid, p.id)
}

// bestPeer chooses who is asked for a chunk, of those that may be: same zone first, then
// whoever should deliver it soonest. It returns nil when nobody can be asked now.
func (m *Machine) bestPeer(s *swarm, i blob.ChunkIndex, each int, may func(*peer, blob.ChunkIndex) bool) *peer {
	return m.bestOf(s, s.sorted, i, each, may)
}

// bestOf is bestPeer among some of the peers.
func (m *Machine) bestOf(s *swarm, of []*peer, i blob.ChunkIndex, each int, may func(*peer, blob.ChunkIndex) bool) *peer {
	var best *peer
	for _, p := range of {
		if !m.askable(p, each) || !may(p, i) {
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
	// Every node has another order, so that not all ask the same.
	tie := func(p *peer) uint64 { return rendezvous(p.seed^s.order.self, int(i)) }
	return cmp.Or(cmp.Compare(far(a), far(b)), cmp.Compare(wait(a), wait(b)), cmp.Compare(tie(a), tie(b))) < 0
}

func (m *Machine) startAsk(s *swarm, p *peer, i blob.ChunkIndex) {
	a := &ask{peer: p, chunk: i, at: m.now}
	if len(s.asks.open) == 0 {
		s.asks.pace = pace{since: m.now, slow: s.asks.pace.slow}
	}
	s.asks.open = append(s.asks.open, a)
	s.chunks[i].ask = a
	s.refresh(i)
	p.asks++
	m.wakeAt(s, m.now+m.askTimeout(s, p))
	m.do(AskPeer{Blob: s.blob, Peer: p.id, Chunk: i})
}

// closeAsk forgets an ask.
func (s *swarm) closeAsk(a *ask) {
	s.asks.open = slices.DeleteFunc(s.asks.open, func(b *ask) bool { return a == b })
	s.chunks[a.chunk].ask = nil
	s.refresh(a.chunk)
	a.peer.asks--
}

// cancelAsk takes an ask back.
func (m *Machine) cancelAsk(s *swarm, a *ask) {
	s.closeAsk(a)
	m.do(CancelAsk{Blob: s.blob, Peer: a.peer.id, Chunk: a.chunk})
}

// avoidPeer has a chunk no longer asked of a peer.
func (s *swarm) avoidPeer(i blob.ChunkIndex, id PeerID) {
	const most = 8
	c := &s.chunks[i]
	if id == "" || slices.Contains(c.avoid, id) {
		return
	}
	if len(c.avoid) >= most {
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
	s.asks.best.add(m.now, int64(s.geometry.Length(ev.Chunk)))
	s.asks.pace.bytes += int64(s.geometry.Length(ev.Chunk))
}

// A best is the most that came from peers within a second.
type best struct {
	rate  int64 // bytes a second; 0: not known yet
	since Time
	bytes int64
}

func (b *best) add(now Time, bytes int64) {
	b.bytes += bytes
	took := now - b.since
	if took < second {
		return
	}
	if took < 2*second { // or there was a pause
		b.rate = max(b.rate, b.bytes*int64(second)/int64(took))
	}
	b.since, b.bytes = now, 0
}

// measure learns from an answer how fast peer and swarm are.
func (m *Machine) measure(s *swarm, a *ask) {
	p, took := a.peer, max(m.now-a.at, millisecond)
	m.delivered(s, p)
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
	if took > slowAnswer {
		k.window = max(k.window-windowUnit/4, m.cfg.AsksMin*windowUnit)
	} else {
		k.window = min(k.window+windowUnit/4, m.cfg.AsksMax*windowUnit)
	}
}
