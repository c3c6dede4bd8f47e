package scheduler

import (
	"cmp"
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A peer is one open session about one blob.
type peer struct {
	id     PeerID
	zone   string
	seed   uint64 // of its rendezvous hash for this blob
	joined Time
	order  int // among the joins of the swarm

	introduced bool // it has told what it holds
	has        blob.Bitset
	count      blob.ChunkIndex // chunks in has
	lastFresh  Time            // when it last told a chunk that nobody known had

	asks      int   // outstanding
	rate      int64 // bytes a second, smoothed; 0: not measured
	restUntil Time  // it was busy or slow: ask nothing before
	refusals  int   // busy answers in a row
	strikes   int   // asks in a row that it did not answer

	chainSent bool
	toldAt    Time // of peer exchange
	toldUpTo  int  // joins that it was told of
}

// maxStrikes is how many asks in a row a peer may leave unanswered; one less for a peer
// that never delivered anything.
const maxStrikes = 3

func (p *peer) seeder() bool { return p.count == p.has.Len() }

func (s *swarm) findPeer(id PeerID) (int, bool) {
	return slices.BinarySearchFunc(s.sorted, id, func(p *peer, id PeerID) int { return cmp.Compare(p.id, id) })
}

// peerJoined takes a session in, unless the peer is unwelcome or the house is full.
func (m *Machine) peerJoined(ev PeerJoined) {
	s := m.swarms[ev.Blob]
	if s == nil || ev.Peer == "" || ev.Peer == m.cfg.Self || m.refused(ev.Peer) || s.hood.struck[ev.Peer] > m.now {
		m.do(Disconnect{Blob: ev.Blob, Peer: ev.Peer})
		return
	}
	s.dirty = true
	if old := s.peers[ev.Peer]; old != nil {
		m.forget(s, old)
	}
	delete(s.hood.connecting, ev.Peer)
	delete(s.hood.avoid, ev.Peer)
	s.hood.drop(ev.Peer)
	if len(s.sorted) >= 2*m.cfg.Neighbours {
		m.turnAway(s, ev.Peer)
		return
	}
	s.joins++
	p := &peer{
		id: ev.Peer, zone: ev.Zone, seed: rendezvousSeed(s.blob, ev.Peer), joined: m.now, lastFresh: m.now,
		order: s.joins, has: blob.NewBitset(s.n), toldAt: -never,
	}
	at, _ := s.findPeer(ev.Peer)
	s.sorted = slices.Insert(s.sorted, at, p)
	s.peers[ev.Peer] = p
	// Also an empty set is told: it lets the peer decide about its duties.
	m.do(TellHave{Blob: s.blob, Peers: []PeerID{p.id}, Chunks: s.servable.Clone()})
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
	}
	delete(s.hood.connecting, ev.Peer)
	s.hood.drop(ev.Peer)
	if ev.Why != FaultCancelled && !s.proven {
		shun(s.hood.avoid, ev.Peer, m.now, m.now+5*second)
	}
}

// forget takes a peer out of the swarm; its asks and uploads are over.
func (m *Machine) forget(s *swarm, p *peer) {
	for _, a := range slices.Clone(s.asks.open) {
		if a.peer == p {
			s.closeAsk(a)
		}
	}
	for i := range p.has.All() {
		s.holders[i]--
	}
	at, _ := s.findPeer(p.id)
	s.sorted = slices.Delete(s.sorted, at, at+1)
	delete(s.peers, p.id)
	m.uploads.dropPeer(s.blob, p.id)
	s.dirty = true
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
	first := !p.introduced
	p.introduced = true
	for i := range ev.Chunks.All() {
		if !p.has.Add(i) {
			continue
		}
		p.count++
		if s.holders[i] == 0 && !s.proven && s.chunks[i].state == missing && (!first || m.midRun(s, ev.Chunks, i)) {
			m.claim(s, p, i)
		}
		s.holders[i]++
	}
	m.leaveSeeder(s, p)
}

// midRun reports whether the set holds only a part of the run of chunk i. Who says so in its
// first words is probably reading the rest; one that was restarted in the middle of a run
// is believed for as long, and then passed over.
func (m *Machine) midRun(s *swarm, chunks blob.Bitset, i blob.ChunkIndex) bool {
	first, end := m.bounds(s, s.runOf(i, m.cfg.Run))
	for at := first; at < end; at++ {
		if !chunks.Has(at) {
			return true
		}
	}
	return false
}
