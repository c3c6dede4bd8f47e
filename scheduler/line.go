package scheduler

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
)

// With a chain, a chunk may be handed on once everything behind it is proven: content
// grows from the tail, and who is ahead can serve who is behind, never the reverse. Were
// everybody to ask the seeder, its uplink would be divided among all. So the members of a
// swarm form a line along the ring: each asks the nearest one before it, which serves
// nobody else, and the first asks the seeder. All uplinks work, each for one peer.
//
// A line of hundreds takes long to reach its end, and what each has when the chain comes is scattered.
// Until a node has a row, it also asks those who stand 2, 4, 8 and so on before it on the ring: its
// fingers, who tell it at once of what they have, as the one before it does.
//
// A line is as slow as its slowest member, so whoever stands behind a slow one passes it
// over: it compares how far the two before it and itself have come in the same time.

const (
	// lineWindow is how far behind the first missing chunk others are asked for.
	lineWindow = 128
	// lineLeast is how many chunks make a line worth its length.
	lineLeast = 16
	// lapLeast and lapBytes are how far one must have come before others are compared with it, in
	// chunks and in bytes. Small chunks come in bursts, of which a few say nothing.
	lapLeast = 32
	lapBytes = 16 * blob.MiB
	// Of what a node still has to prove one part in so many must be here for it to be scattered.
	scatteredOf = 8
	// crowdLeast is how many peers make a line so long that fingers pay.
	crowdLeast = 32
	// lineBytes is what the one before this node is asked for at a time, at least.
	lineBytes = blob.MiB
	// stillWait is how long one may bring nothing at all before who stands behind it, with a seeder further on.
	stillWait = second / 2
	// skipFor is how long a slow peer is passed over.
	skipFor = 10 * second
	// chainDue is how long a seeder may take to send its chain before it is asked like others.
	chainDue = second
	// muchDue is how long a peer that has much for one is relied on without a chain.
	muchDue = chainDue / 4
)

// A lap is a comparison of how far members of the line come in the same time.
type lap struct {
	at     Time            // when it began
	suffix blob.ChunkIndex // this node has proven every chunk from here on
	from   blob.ChunkIndex // where suffix was when the lap began
}

// alongLine chooses the next chunk from the tail, and who in the line is asked for it.
func (m *Machine) alongLine(s *swarm, each int) (blob.ChunkIndex, *peer) {
	m.compareLaps(s)
	low := s.lineLow()
	if low < 0 {
		return 0, nil
	}
	if s.n < lineLeast {
		return m.downTree(s, each)
	}
	for _, p := range s.order.line {
		if p.between > 0 {
			break
		}
		if !m.askable(p, max(each, s.lineAsks(m.cfg.AsksPerPeer))) {
			continue
		}
		if i := s.tailMost(p, low); i >= 0 {
			return i, p
		}
	}
	each = min(each, fewAsks)
	if i, p := m.alongFingers(s, each, low); p != nil {
		return i, p
	}
	return m.rarest(s, each)
}

// alongFingers chooses the last wanted chunk from low on that one of the fingers has, and who of them is
// asked, for a node in a crowd that has much already, here and there. What it lacks is then no row that
// the one before it could bring, who lacks something as well, something else.
func (m *Machine) alongFingers(s *swarm, each int, low blob.ChunkIndex) (blob.ChunkIndex, *peer) {
	if !s.crowd() || !s.scattered() {
		return 0, nil
	}
	for i := s.asks.lap.suffix - 1; i >= low; i-- {
		if !s.wanted.Has(i) {
			continue
		}
		if p := m.bestOf(s, s.order.fingers, i, each, s.offers); p != nil {
			return i, p
		}
	}
	return 0, nil
}

// advance takes in what was proven since.
func (l *lap) advance(servable blob.Bitset) {
	for l.suffix > 0 && servable.Has(l.suffix-1) {
		l.suffix--
	}
}

// crowd reports whether a line through the swarm is so long that fingers pay.
func (s *swarm) crowd() bool { return len(s.sorted) >= crowdLeast }

// scattered reports whether much of what this node has still to prove is here.
func (s *swarm) scattered() bool {
	s.asks.lap.advance(s.servable)
	suffix := s.asks.lap.suffix
	return scatteredOf*(suffix-s.missing) >= suffix
}

// downTree chooses the last wanted chunk and who is asked for it, for a blob that is too
// small for a line: those next to somebody who has it ask first, and then in each step twice
// as many, of whom by then twice as many have it.
func (m *Machine) downTree(s *swarm, each int) (blob.ChunkIndex, *peer) {
	step := s.hop()
	for w := s.wanted.Words() - 1; w >= 0; w-- {
		for word := s.wanted.Word(w) & s.covered.Word(w); word != 0; {
			bit := 63 - bits.LeadingZeros64(word)
			word &^= 1 << bit
			i := blob.ChunkIndex(w*64 + bit)
			steps := (m.now - s.chunks[i].coveredAt) / step
			reach := 1<<min(steps, 16) - 1
			may := func(p *peer, i blob.ChunkIndex) bool {
				return p.between <= reach && s.offers(p, i)
			}
			if p := m.bestPeer(s, i, each, may); p != nil {
				return i, p
			}
			m.wakeAt(s, s.chunks[i].coveredAt+(steps+1)*step)
		}
	}
	return 0, nil
}

// hop is how long a chunk may take from one member to the next.
func (s *swarm) hop() Time {
	const handling, rate = 10 * millisecond, 10 * blob.MiB // what is passed on, and how fast
	return handling + Time(int64(s.geometry.Length(0))*int64(second)/int64(rate))
}

// compareLaps passes over the member of the line before this node if it is what holds this
// node up: it stands still, it comes on more slowly than one before it, or this node more
// slowly than it.
func (m *Machine) compareLaps(s *swarm) {
	l := &s.asks.lap
	l.advance(s.servable)
	first, before := s.ahead(m.now)
	if first == nil {
		return
	}
	if m.due(s, max(first.movedAt, l.at)+m.patience(s)+m.lineWait(s)) {
		m.passOver(s, first) // it gets nothing itself
		return
	}
	slower := func(a, b blob.ChunkIndex) bool { return 3*a < 2*b }
	own, its, fastest := l.from-l.suffix, first.lap(), blob.ChunkIndex(0)
	seeder := false
	for _, p := range before {
		if seeder = seeder || p.seeder(); !p.seeder() {
			fastest = max(fastest, p.lap())
		}
	}
	switch {
	case len(before) == 0:
		return
	case seeder && its == 0 && m.due(s, l.at+stillWait+m.lineWait(s)):
		m.passOver(s, first)
	case seeder && m.due(s, l.at+2*second+m.lineWait(s)):
		if m.crawls(s, its) {
			m.passOver(s, first)
		}
	case its >= s.lapLength():
		if slower(own, its) {
			m.passOver(s, first)
		}
	case fastest >= s.lapLength():
		if slower(its, fastest) {
			m.passOver(s, first)
		}
	default:
		return
	}
	l.from, l.at = l.suffix, m.now
	for _, p := range s.sorted {
		p.lapFrom = p.suffix
	}
}

// lineAsks is how many chunks the one before this node in the line is asked for at a time, though many
// have something: small ones would else be too few to keep it busy until the next ask comes.
func (s *swarm) lineAsks(most int) int {
	return min(most, int(lineBytes/s.geometry.ChunkSize()))
}

// lapLength is how many chunks one must have come before others are compared with it.
func (s *swarm) lapLength() blob.ChunkIndex {
	return max(lapLeast, blob.ChunkIndex(lapBytes/s.geometry.ChunkSize()))
}

// lap is how many chunks a member of the line has come in this lap.
func (p *peer) lap() blob.ChunkIndex { return p.lapFrom - p.suffix }

// crawls reports whether a member of the line that is served by a seeder got far fewer
// chunks in this lap than this node could take, or should be able to.
func (m *Machine) crawls(s *swarm, chunks blob.ChunkIndex) bool {
	const few = 3
	expected := cmp.Or(s.asks.best.rate, 10*int64(blob.MiB)/int64(max(1, m.downloads())))
	took := max(1, int64((m.now-s.asks.lap.at)/millisecond))
	return few*int64(chunks)*int64(s.geometry.ChunkSize())*1000/took < expected
}

// ahead are the leecher before this node in the line and a few before that, up to a seeder; none
// where a seeder comes first. Slow ones may stand in a row.
func (s *swarm) ahead(now Time) (first *peer, before []*peer) {
	const few = 4
	for _, p := range s.order.line {
		switch {
		case p.skipUntil > now:
		case first == nil && p.seeder():
			return nil, nil
		case first == nil:
			first = p
		default:
			before = append(before, p)
		}
		if len(before) == few || p.seeder() && p.skipUntil <= now {
			break
		}
	}
	return first, before
}

// passOver leaves a member of the line out for a while, longer each time.
func (m *Machine) passOver(s *swarm, p *peer) {
	p.skipUntil = m.now + skipFor<<min(p.skips, 4)
	p.skips++
	m.wakeAt(s, p.skipUntil)
	s.order.stale = true
	m.arrange(s)
}

// lineWait is how long the first chunk may take through a line as long as the swarm is large.
func (m *Machine) lineWait(s *swarm) Time {
	if !s.proof.has {
		return 0
	}
	return s.round()
}

// round is how long one node may take to send a chunk to each member of the swarm, while it is busy.
func (s *swarm) round() Time { return 2 * Time(len(s.sorted)) * s.hop() }

// lineLow is the lowest chunk that is asked for along the line now, or -1 for none.
func (s *swarm) lineLow() blob.ChunkIndex {
	for w := s.wanted.Words() - 1; w >= 0; w-- {
		if word := s.wanted.Word(w); word != 0 {
			top := blob.ChunkIndex(w*64 + 63 - bits.LeadingZeros64(word))
			return max(0, top-lineWindow)
		}
	}
	return -1
}

// tailMost is the last wanted chunk, from low on, that the peer has, or -1.
func (s *swarm) tailMost(p *peer, low blob.ChunkIndex) blob.ChunkIndex {
	for w := s.wanted.Words() - 1; w >= int(low/64); w-- {
		for word := s.wanted.Word(w) & p.has.Word(w); word != 0; {
			bit := 63 - bits.LeadingZeros64(word)
			word &^= 1 << bit
			i := blob.ChunkIndex(w*64 + bit)
			if i < low {
				return -1
			}
			if !slices.Contains(s.chunks[i].avoid, p.id) {
				return i
			}
		}
	}
	return -1
}
