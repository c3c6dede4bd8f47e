package scheduler

import (
	"math/bits"
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A run is what the Machine knows about adjacent chunks that one upstream read brings. It goes
// by its first chunk.
type run struct {
	wanted   bool // nobody known had a chunk of it or was reading it once
	wantedAt Time // when that was first seen
}

// The widest runs are eight chunks, but between these two lengths: sixteen of the smallest
// chunks, since a request costs the registry the same however little it is for.
const (
	minRun = 2 * blob.MiB
	maxRun = 16 * blob.MiB
)

// widestRun is the most chunks that one upstream read brings, a power of two.
func (s *swarm) widestRun() blob.ChunkIndex {
	size := s.geometry.ChunkSize()
	return blob.ChunkIndex(min(max(8*size, minRun), maxRun) / size)
}

// cutRuns chooses how many chunks a run has: so few, in a crowd, that every reader has some to
// read, because before there is a chain nobody hands on what it did not read. Powers
// of two let nodes agree for the most part who count the readers differently: their runs
// begin at the same chunks, and a run goes by its first.
func (s *swarm) cutRuns(readers int) {
	const few, runsEach = 8, 2 // with one each, some would have none and others two
	s.run = s.widestRun()
	for readers > few && s.run > 1 && int((s.n+s.run-1)/s.run) < runsEach*readers {
		s.run /= 2
	}
}

// number is what the rendezvous hash of a run is about. Those that begin where a widest run
// does count like those.
func (s *swarm) number(k blob.ChunkIndex) int {
	widest := s.widestRun()
	return int(k/widest) | int(k%widest)<<16
}

// runOf is the first chunk of the run that a chunk belongs to.
func (s *swarm) runOf(i blob.ChunkIndex) blob.ChunkIndex { return i - i%s.run }

// endOf is the end of the run that a chunk belongs to.
func (s *swarm) endOf(i blob.ChunkIndex) blob.ChunkIndex { return min(s.runOf(i)+s.run, s.n) }

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

// duties starts the upstream reads that fall to this node.
func (m *Machine) duties(s *swarm) {
	if !m.settled(s) || !m.mayRead(s) || m.loaded(s) {
		return
	}
	for s.up.busy() < m.readLimit(s) && m.roomToRead(s) {
		x, at := m.nextDuty(s)
		if x.Count == 0 {
			x, at = m.nextShare(s, at)
		}
		if x.Count == 0 {
			if at != never {
				m.wakeAt(s, at)
			}
			return
		}
		m.startRead(s, x.First, x.Count)
	}
}

// readLimit is how many reads of the blob this node has at a time: in a large swarm one,
// so that the first chunks are whole, and can be handed on, soon.
func (m *Machine) readLimit(s *swarm) int {
	if s.up.whole || !s.small() {
		return 1
	}
	return m.cfg.Reads
}

// small reports whether a node reads a good part of the blob: few share it.
func (s *swarm) small() bool {
	const large = 3
	return len(s.sorted) < large
}

// fewRead reports whether this node shares the reads with one or two who do read: not with those who have no
// registry, have enough or only say so.
func (m *Machine) fewRead(s *swarm) bool {
	return s.small() && slices.ContainsFunc(s.sorted, func(p *peer) bool {
		return p.tookPart && !p.seeder() && m.now < p.lastFresh+m.patience(s)
	})
}

// roomToRead reports whether this node may begin one more read. A swarm that may not is
// planned anew once there is room.
func (m *Machine) roomToRead(s *swarm) bool {
	s.starved = !m.hasRoom(s)
	return !s.starved
}

// hasRoom reports whether one more read of the blob fits among those of all. What no client
// waits for takes nothing from what one does: for that there is as much room again.
func (m *Machine) hasRoom(s *swarm) bool {
	const again = 2
	all, waited := 0, 0
	for _, o := range m.order {
		n := o.up.busy()
		if all += n; o.waitedFrom != never {
			waited += n
		}
	}
	if s.waitedFrom != never {
		return waited < m.cfg.ReadsAll && all < again*m.cfg.ReadsAll
	}
	return all < m.cfg.ReadsAll
}

// nextStarved is the swarm that may read now after others left it no room: the one whose client
// waits longest, or else the oldest; -1 for none.
func (m *Machine) nextStarved() int {
	best := -1
	for at, s := range m.order {
		if s.starved && (best < 0 || s.waitedFrom < m.order[best].waitedFrom) && m.hasRoom(s) {
			best = at
		}
	}
	return best
}

// mayRead reports whether this node takes part in reading: it is one of the readers, or
// they bring nothing.
func (m *Machine) mayRead(s *swarm) bool {
	const aside = 2 // they do not hear of everything that is read
	m.arrange(s)
	if s.order.reader {
		return true
	}
	last := max(s.lastGain, s.hood.settledAt)
	for _, p := range s.sorted {
		last = max(last, p.lastFresh)
	}
	at := last + aside*m.patience(s)
	if m.now < at {
		m.wakeAt(s, at)
		return false
	}
	return true
}

// loaded reports whether others should read: this node's uplink has enough to do until more
// could be read. So everybody reads as much as it can hand on. Uploads that stand still are
// no reason: who takes nothing in must not keep a node from reading.
func (m *Machine) loaded(s *swarm) bool {
	const least = 250 * millisecond
	over := m.uploads.demand(m.now) - max(2*s.claims.pace, least)
	stuck := m.uploads.endedAt + m.leastPatience(s)
	if s.proof.has || len(s.sorted) == 0 || over <= 0 || m.now >= stuck {
		return false
	}
	m.wakeAt(s, min(stuck, m.now+max(min(over, m.uploads.backlog()), m.uploads.each)))
	return true
}

// unread is word k of the chunks that only upstream can bring and nobody reads.
func (m *Machine) unread(s *swarm, claimed blob.Bitset, k int) uint64 {
	return s.wanted.Word(k) &^ s.covered.Word(k) &^ claimed.Word(k)
}

// nextDuty chooses the run to read now: of those whose wait is over the one for which this
// node ranks best, or else says when the first wait will be.
func (m *Machine) nextDuty(s *swarm) (best Span, at Time) {
	at = never
	claimed := m.claimed(s)
	bestRank := 0
	rankFor, few := m.ranking(s), m.fewRead(s)
	isUnread := func(i blob.ChunkIndex) bool { return m.unread(s, claimed, int(i/64))>>(i%64)&1 != 0 && s.free(i) }
	consider := func(k blob.ChunkIndex) {
		from, count := stretch(k, s.endOf(k), isUnread)
		if count == 0 {
			return
		}
		r := &s.runs[k]
		if !r.wanted {
			r.wanted, r.wantedAt = true, m.now
		}
		rank := rankFor(k)
		ready := m.dutyAt(s, r, rank, few)
		switch {
		case ready > m.now:
			at = min(at, ready)
		case best.Count == 0 || rank < bestRank || rank == bestRank && s.fromTail(rank, few):
			best, bestRank = Span{from, count}, rank
		}
	}
	last := blob.ChunkIndex(-1)
	for w := range s.wanted.Words() {
		for word := m.unread(s, claimed, w); word != 0; word &= word - 1 {
			if k := s.runOf(blob.ChunkIndex(w*64 + bits.TrailingZeros64(word))); k != last {
				last = k
				consider(k)
			}
		}
	}
	if at == never && s.claims.until != never {
		at = s.claims.until
	}
	if s.up.whole && best.Count > 0 {
		return m.wholeDuty(s)
	}
	return best, at
}

// fromTail reports whether of several runs that it is of this rank for this node reads the last: where there
// is a chain, which is handed on from the tail, and where they are the duty of another of a few, who
// begins with the first.
func (s *swarm) fromTail(rank int, few bool) bool { return s.proof.has || few && rank > 0 }

// dutyAt is when this node may read a run that it is of this rank for. Rank r waits r times Stagger from
// when the run was first wanted, and a part of that when it has just become free, so that of many that
// become free at once each takes another. A few soon run out of duties of their own, and hear of each
// other's reads late beside chunks: there the wait after a read is a whole one, and who reads still
// takes nothing of the others'.
func (m *Machine) dutyAt(s *swarm, r *run, rank int, few bool) Time {
	const parts = 8
	wait := Time(rank) * m.cfg.Stagger
	after := wait / parts
	if few && rank > 0 {
		if after = wait; s.up.busy() > 0 {
			return never
		}
	}
	return max(r.wantedAt+wait, s.up.idleSince+after)
}

// ranking is how this node ranks for a run now. A node of a crowd that has read nothing yet, when few
// others have not either, ranks among those alone: all others have their part or are reading it, and
// who reads two of a few chunks holds up everybody.
func (m *Machine) ranking(s *swarm) func(k blob.ChunkIndex) int {
	if few, idle := s.idlers(); idle {
		return func(k blob.ChunkIndex) int { return s.rankAmong(few, k) }
	}
	return func(k blob.ChunkIndex) int { return m.rank(s, k) }
}

// idlers are those of a crowd who share the reads and neither read anything yet nor are about to, as they
// tell, if this node is one of them and they are few of all.
func (s *swarm) idlers() (few []*peer, are bool) {
	const many, fewOf = 32, 4
	if s.proof.has || s.servable.Count() > 0 {
		return nil, false
	}
	readers := 0
	for _, p := range s.sorted {
		if !p.sharesReads() {
			continue
		}
		readers++
		if p.count == 0 && len(p.reads) == 0 {
			few = append(few, p)
		}
	}
	return few, readers >= many && fewOf*len(few) < readers
}

// wholeDuty is the duty where the registry ignores Range: everything from the first chunk
// that is missing on, read by one node. Its run stands for all.
func (m *Machine) wholeDuty(s *swarm) (Span, Time) {
	for _, p := range s.sorted {
		if len(p.reads) > 0 && m.now < p.lastFresh+m.patience(s) {
			return Span{}, p.lastFresh + m.patience(s)
		}
	}
	ready := s.runs[0].wantedAt + Time(m.rank(s, 0))*m.cfg.Stagger
	if m.now < ready {
		return Span{}, ready
	}
	from, count := stretch(0, s.n, func(i blob.ChunkIndex) bool { return s.wanted.Has(i) })
	return Span{from, count}, never
}

// nextShare takes the second half of what a peer still has to read of its run, when
// nothing else is left and that would last: what is read here can be handed on from here.
// Of several such runs it takes the one for which this node ranks best, as all others do
// who have nothing left.
func (m *Machine) nextShare(s *swarm, at Time) (Span, Time) {
	const worth, least = second, 2
	if s.up.whole {
		return Span{}, at
	}
	m.claimed(s)
	var best Span
	bestRank := 0
	patience := m.patience(s)
	for _, p := range s.sorted {
		if p.lastFresh+patience <= m.now || len(p.reads) > 0 && !m.due(s, p.readsAt+worth) {
			continue // it is passed over, or has only begun
		}
		for _, x := range p.reads {
			from, left := stretch(x.First, x.End(), func(i blob.ChunkIndex) bool {
				return s.wanted.Has(i) && !s.covered.Has(i) && !s.claims.shared.Has(i) && s.free(i)
			})
			if left < least || from+left < x.End() || Time(left)*s.claims.pace < worth {
				continue
			}
			if rank := m.rank(s, s.runOf(from)); best.Count == 0 || rank < bestRank {
				best, bestRank = Span{from, left}, rank
			}
		}
	}
	if best.Count == 0 {
		s.up.shareFrom = never
		return Span{}, at
	}
	s.up.shareFrom = min(s.up.shareFrom, m.now)
	if ready := max(s.up.idleSince, s.up.shareFrom) + Time(1+bestRank)*m.cfg.Stagger; m.now < ready {
		return Span{}, min(at, ready)
	}
	s.up.shareFrom = never
	half := best.Count / 2
	return Span{best.End() - half, half}, at
}
