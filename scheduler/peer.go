package scheduler

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A peer is one open session about one blob.
type peer struct {
	id     PeerID
	zone   string
	seed   uint64 // of its rendezvous hash for this blob
	weight uint64 // for the whole blob
	place  uint64 // on the ring
	joined Time
	order  int // among the joins of the swarm

	introduced bool // it has told what it holds
	has        blob.Bitset
	count      blob.ChunkIndex // chunks in has
	suffix     blob.ChunkIndex // it has every chunk from here on
	barren     int             // the swarm's wants when it had nothing for rarest; -1: it told more since

	reads     []Span // what it says it reads from upstream
	readsAt   Time   // since when
	tookPart  bool   // it has ever said that it reads
	lastFresh Time   // when it last told a chunk that nobody known had, or began to read

	reader    bool            // it shares the reads of the blob
	verifier  bool            // it is served first while there is no chain
	between   int             // leechers in the line between it and this node
	lapFrom   blob.ChunkIndex // where suffix was when the lap began
	skips     int             // how often it held up the line
	movedAt   Time            // when suffix last fell
	skipUntil Time            // it held up the line: it is passed over before

	record
	asks     int   // outstanding
	rate     int64 // bytes a second, smoothed; 0: not measured
	refusals int   // busy answers in a row

	seederAt  Time // since when it says that it has all
	muchAt    Time // since when it says that it has much for one
	chainSent bool
	toldAt    Time // of peer exchange
	toldUpTo  int  // joins that it was told of
}

func (p *peer) seeder() bool { return p.count == p.has.Len() }

func (s *swarm) findPeer(id PeerID) (int, bool) {
	return slices.BinarySearchFunc(s.sorted, id, func(p *peer, id PeerID) int { return cmp.Compare(p.id, id) })
}

// peerJoined takes a session in, unless the peer is unwelcome or the house is full.
func (m *Machine) peerJoined(ev PeerJoined) {
	s := m.swarms[ev.Blob]
	if s == nil || ev.Peer == "" || ev.Peer == m.cfg.Self || m.refused(ev.Peer) {
		m.do(Disconnect{Blob: ev.Blob, Peer: ev.Peer})
		return
	}
	s.dirty = true
	if old := s.peers[ev.Peer]; old != nil {
		m.forget(s, old)
	}
	m.reached(s, ev.Peer)
	s.hood.drop(ev.Peer)
	delete(s.hood.avoid, ev.Peer)
	delete(s.hood.elsewhere, ev.Peer)
	c := newCandidate(s.blob, ev.Peer)
	if m.full(s, c) {
		m.turnAway(s, ev.Peer)
		return
	}
	s.joins++
	p := &peer{
		id: ev.Peer, zone: ev.Zone, seed: c.seed, weight: c.weight, place: rendezvous(c.seed, onRing), joined: m.now, lastFresh: m.now, movedAt: m.now,
		order: s.joins, has: blob.NewBitset(s.n), suffix: s.n, lapFrom: s.n, barren: -1, record: s.recall(ev.Peer), toldAt: -never,
	}
	at, _ := s.findPeer(ev.Peer)
	s.sorted = slices.Insert(s.sorted, at, p)
	s.peers[ev.Peer] = p
	s.order.stale = true
	s.hood.grewAt = m.now
	// What this node reads comes first: once the peer knows what it holds, it decides about its duties. So
	// an empty set is told as well.
	if len(s.claims.told) > 0 {
		m.do(TellReading{Blob: s.blob, Peers: []PeerID{p.id}, Spans: s.claims.told})
	}
	m.do(TellHave{Blob: s.blob, Peers: []PeerID{p.id}, Chunks: s.servable.Clone()})
}

// full reports whether there is no room for one more session. The last places are kept for
// those who share the reads.
func (m *Machine) full(s *swarm, c candidate) bool {
	most := 2 * m.neighbours(s)
	if len(s.sorted) >= most {
		return true
	}
	m.arrange(s)
	if c.weight >= s.order.least {
		return false
	}
	others := 0
	for _, p := range s.sorted {
		if !p.reader {
			others++
		}
	}
	return others >= most-m.readers(s)
}

// turnAway names others to a peer that this node has no room for.
func (m *Machine) turnAway(s *swarm, id PeerID) {
	if others := m.somePeers(s, id, 0); len(others) > 0 {
		m.do(TellPeers{Blob: s.blob, Peer: id, Peers: others})
	}
	m.do(Disconnect{Blob: s.blob, Peer: id})
}

// peerLeft forgets a session, or an attempt at one. What that peer had advertised is
// not tried again for a while.
func (m *Machine) peerLeft(s *swarm, ev PeerLeft) {
	if p := s.peers[ev.Peer]; p != nil {
		m.forget(s, p)
		if ev.Why == FaultGone && !p.seeder() {
			shun(s.hood.elsewhere, ev.Peer, m.now, m.now+minute)
		}
	} else if ev.Why != FaultCancelled {
		m.unreached(s, ev.Peer)
	}
	s.hood.drop(ev.Peer)
	s.order.stale = true
	if ev.Why != FaultCancelled && !s.proven {
		shun(s.hood.avoid, ev.Peer, m.now, m.now+5*second)
	}
}

// forget takes a peer out of the swarm; its asks and uploads are over.
func (m *Machine) forget(s *swarm, p *peer) {
	m.keepRecord(s, p)
	for _, a := range slices.Clone(s.asks.open) {
		if a.peer == p {
			s.closeAsk(a)
		}
	}
	m.uncover(s, p)
	if len(p.reads) > 0 {
		s.up.idleSince = m.now // whoever reads that instead: not all at once
	}
	at, _ := s.findPeer(p.id)
	s.sorted = slices.Delete(s.sorted, at, at+1)
	delete(s.peers, p.id)
	m.uploads.dropPeer(s.blob, p.id)
	s.dirty, s.order.stale, s.claims.stale = true, true, true
}

// disconnect ends a session from this side.
func (m *Machine) disconnect(s *swarm, p *peer) {
	m.forget(s, p)
	m.do(Disconnect{Blob: s.blob, Peer: p.id})
}

// leaveSeeder ends a session between two seeders, who have nothing for each other.
func (m *Machine) leaveSeeder(s *swarm, p *peer) {
	if s.proven && p.seeder() {
		m.disconnect(s, p)
	}
}

// peerHas records what a peer holds.
func (m *Machine) peerHas(s *swarm, ev PeerHas) {
	p := s.peers[ev.Peer]
	if p == nil {
		return
	}
	if n := ev.Chunks.Len(); n != s.n && n != 0 {
		m.quarantine(p.id, s.blob, "told a set of chunks of another blob size")
		return
	}
	p.introduced = true
	news := false
	for w := range ev.Chunks.Words() {
		for word := ev.Chunks.Word(w) &^ p.has.Word(w); word != 0; word &= word - 1 {
			i := blob.ChunkIndex(w*64 + bits.TrailingZeros64(word))
			p.has.Add(i)
			p.count++
			p.barren = -1
			if s.proven {
				continue
			}
			news = news || s.holders[i] == 0 && s.chunks[i].state == missing
			if p.counts() {
				m.addHolder(s, i)
			}
		}
	}
	s.mostHeld = max(s.mostHeld, p.count)
	for p.suffix > 0 && p.has.Has(p.suffix-1) {
		p.suffix--
		p.movedAt = m.now
	}
	if news && p.counts() {
		m.fresh(s, p)
	}
	if p.seeder() {
		p.seederAt = cmp.Or(p.seederAt, m.now)
		s.order.stale, s.claims.stale = true, true
		p.reads = nil
	}
	m.leaveSeeder(s, p)
}

func (m *Machine) addHolder(s *swarm, i blob.ChunkIndex) {
	if s.holders[i]++; s.holders[i] == 1 {
		s.covered.Add(i)
		s.chunks[i].coveredAt = m.now
	}
}

// counts reports whether what a peer says that it holds is relied on.
func (p *peer) counts() bool { return !p.discounted && !p.doubted && !p.hoards }

// uncover takes a peer that counted off the holders of what it has. What only it had is anybody's to
// read, but not everybody's at once.
func (m *Machine) uncover(s *swarm, p *peer) {
	s.order.stale = true
	if s.proven || !p.counts() {
		return
	}
	for i := range p.has.All() {
		if s.holders[i]--; s.holders[i] == 0 {
			s.covered.Remove(i)
			s.up.idleSince = m.now
		}
	}
}

// cover puts a peer among the holders of what it has, if it counts again.
func (m *Machine) cover(s *swarm, p *peer) {
	if !p.counts() {
		return
	}
	s.order.stale = true
	for i := range p.has.All() {
		m.addHolder(s, i)
	}
}

// discount has what a peer holds not count any more, until it has delivered: one chunk the first
// time, then twice as many each time.
func (m *Machine) discount(s *swarm, p *peer) {
	if p.discounted || s.proven {
		return
	}
	m.uncover(s, p)
	p.discounted = true
	p.owed = 1 << min(p.discounts, maxDiscounts)
	p.discounts++
}

// delivered has a chunk count for the peer that sent it.
func (m *Machine) delivered(s *swarm, p *peer) {
	p.strikes, p.refusals, p.failing, p.cuts = 0, 0, never, 0
	if p.owed--; p.owed > 0 || !p.discounted {
		return
	}
	p.discounted = false
	m.cover(s, p)
}
