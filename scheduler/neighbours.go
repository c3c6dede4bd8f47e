package scheduler

import (
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
)

// Bounds on what strangers can make this node remember and do.
const (
	maxKnown      = 256 // candidates kept for one blob
	maxShunned    = 1024
	maxTold       = 64  // peers taken from one message
	maxPeerID     = 128 // bytes
	maxConnecting = 8   // sessions being opened for one blob

	connectTimeout = 15 * second
	lookupTimeout  = 60 * second
	// enoughPeers is how many sessions make another DHT lookup needless.
	enoughPeers = 8
)

// Peer exchange.
const (
	exchangeEvery = second
	exchangeCount = 16
)

// A neighbourhood is how a swarm comes by its peers.
type neighbourhood struct {
	known      []PeerID // candidates to connect to
	connecting map[PeerID]Time
	avoid      map[PeerID]Time // could not be reached: not dialled before; welcome when they dial
	struck     map[PeerID]Time // left asks unanswered: no session before

	looking  bool // a lookup is under way
	lookAt   Time // when the next one starts, or the one under way is given up
	lookups  int
	lookedUp bool // one has ended
}

func newNeighbourhood(now Time) neighbourhood {
	return neighbourhood{connecting: map[PeerID]Time{}, avoid: map[PeerID]Time{}, struck: map[PeerID]Time{}, lookAt: now}
}

func (h *neighbourhood) drop(id PeerID) {
	h.known = slices.DeleteFunc(h.known, func(k PeerID) bool { return k == id })
}

// shun keeps a peer in the list until a time; a full list takes nobody else.
func shun(list map[PeerID]Time, id PeerID, now, until Time) {
	if len(list) >= maxShunned {
		for k, t := range list {
			if t <= now {
				delete(list, k)
			}
		}
	}
	if len(list) < maxShunned {
		list[id] = until
	}
}

// announceDownload makes this node findable, by the image so that all its layers need one record.
func (m *Machine) announceDownload(s *swarm) {
	if m.members == 0 {
		return
	}
	key := s.image
	if key.IsZero() {
		key = s.blob
	}
	for _, o := range m.order {
		if o == s {
			break
		}
		if !o.proven && o.image == key {
			return // announced for an earlier sibling
		}
	}
	m.do(Announce{Key: key})
}

// membersCounted starts looking for peers when this node is no longer alone in the world.
func (m *Machine) membersCounted(n int) {
	was := m.members
	m.members = max(0, n)
	if (was == 0) == (m.members == 0) {
		return
	}
	for _, s := range m.order {
		s.dirty = true
		if was > 0 || s.proven {
			continue
		}
		s.hood.lookAt, s.hood.lookups = m.now, 0
		m.announceDownload(s)
	}
}

// lookUp asks the DHT for peers, at once and then ever more rarely while there are few.
func (m *Machine) lookUp(s *swarm) {
	h := &s.hood
	if m.members == 0 || len(s.sorted) >= min(enoughPeers, m.cfg.Neighbours, m.members) {
		return
	}
	if m.now < h.lookAt {
		m.wakeAt(s, h.lookAt)
		return
	}
	h.looking = true
	h.lookups++
	h.lookAt = m.now + lookupTimeout
	m.wakeAt(s, h.lookAt)
	m.do(FindPeers{Blob: s.blob, Image: s.image})
}

// peersFound takes what the DHT said. A crowd that starts together finds nobody at
// first, because no record has arrived yet: the second look comes soon.
func (m *Machine) peersFound(s *swarm, ev PeersFound) {
	m.learn(s, ev.Peers)
	if !ev.Done || s.proven || !s.hood.looking {
		return
	}
	h := &s.hood
	h.looking, h.lookedUp = false, true
	pause := m.cfg.LookupWait / 3
	for range min(h.lookups-1, 8) {
		pause *= 3
	}
	h.lookAt = m.now + min(pause, 30*second)
}

// learn remembers candidates, whoever named them.
func (m *Machine) learn(s *swarm, ids []PeerID) {
	if s.proven {
		return
	}
	h := &s.hood
	for _, id := range ids[:min(len(ids), maxTold)] {
		_, connecting := h.connecting[id]
		switch {
		case len(h.known) >= maxKnown:
			return
		case id == "" || len(id) > maxPeerID || id == m.cfg.Self || connecting || s.peers[id] != nil:
		case slices.Contains(h.known, id):
		default:
			h.known = append(h.known, id)
		}
	}
}

// learnFromSiblings takes the peers of other layers of the same image as candidates.
func (m *Machine) learnFromSiblings(s *swarm) {
	if s.image.IsZero() {
		return
	}
	for _, o := range m.order {
		if o == s || o.image != s.image {
			continue
		}
		for _, p := range o.sorted {
			m.learn(s, []PeerID{p.id})
		}
	}
}

// connect opens sessions to candidates, in random order, up to the limits.
func (m *Machine) connect(s *swarm) {
	h := &s.hood
	for id, since := range h.connecting {
		if at := since + connectTimeout; at <= m.now {
			delete(h.connecting, id)
		} else {
			m.wakeAt(s, at)
		}
	}
	for len(h.known) > 0 && len(h.connecting) < maxConnecting && len(s.sorted)+len(h.connecting) < m.cfg.Neighbours {
		at := m.random.IntN(len(h.known))
		id := h.known[at]
		h.known = slices.Delete(h.known, at, at+1)
		if m.refused(id) || h.avoid[id] > m.now || h.struck[id] > m.now {
			continue
		}
		h.connecting[id] = m.now
		m.wakeAt(s, m.now+connectTimeout)
		m.do(Connect{Blob: s.blob, Peer: id})
	}
}

// somePeers picks random peers for peer exchange, of those that joined after the given one.
func (m *Machine) somePeers(s *swarm, except PeerID, after int) []PeerID {
	var ids []PeerID
	for _, p := range s.sorted {
		if p.id != except && p.order > after {
			ids = append(ids, p.id)
		}
	}
	m.random.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	return ids[:min(len(ids), exchangeCount)]
}

// exchangePeers names the swarm's peers to each other: all to one that joined, newcomers
// to the others now and then. Seeders look for nobody.
func (m *Machine) exchangePeers(s *swarm) {
	for _, p := range s.sorted {
		if p.seeder() || p.toldUpTo >= s.joins {
			continue
		}
		if at := p.toldAt + exchangeEvery; m.now < at {
			m.wakeAt(s, at)
			continue
		}
		others := m.somePeers(s, p.id, p.toldUpTo)
		p.toldUpTo = s.joins
		if len(others) == 0 {
			continue
		}
		p.toldAt = m.now
		m.do(TellPeers{Blob: s.blob, Peer: p.id, Peers: others})
	}
}

// anybody reports whether a peer is here or may still come of what is known.
func (m *Machine) anybody(s *swarm) bool {
	h := &s.hood
	if len(s.sorted) > 0 || len(h.connecting) > 0 || len(h.known) > 0 {
		return true
	}
	if m.members == 0 {
		return false
	}
	at := s.started + m.lookupWait(s)
	if h.looking || !h.lookedUp {
		at = max(at, s.started+2*second)
	}
	if m.now >= at {
		return false
	}
	m.wakeAt(s, at)
	return true
}

// lookupWait is how long a node with members waits for a first peer before it reads on
// its own: a small blob is not worth as much.
func (m *Machine) lookupWait(s *swarm) Time {
	if len(s.runs) <= 1 {
		return min(m.cfg.Stagger, m.cfg.LookupWait)
	}
	return m.cfg.LookupWait
}

// alone reports whether this node is by itself in the swarm and has waited long enough
// for others.
func (m *Machine) alone(s *swarm) bool {
	if len(s.sorted) > 0 {
		return false
	}
	return m.members == 0 || m.now >= s.started+m.lookupWait(s)
}

// settled reports whether a node's view of the swarm is good enough for its duties: the
// first look is over, and the peers in session have said what they hold.
func (m *Machine) settled(s *swarm) bool {
	at := s.started + m.lookupWait(s)
	if len(s.sorted) >= m.members {
		at = m.now // everybody is here
	}
	for _, p := range s.sorted {
		if !p.introduced {
			at = max(at, p.joined+m.cfg.Stagger)
		}
	}
	if m.now < at {
		m.wakeAt(s, at)
		return false
	}
	return true
}

// rendezvousSeed is a member's part of the rendezvous hash for a blob. Every node
// computes the same: it is part of how the swarm agrees, as the wire format is.
func rendezvousSeed(d blob.Digest, id PeerID) uint64 {
	const offset, prime = 14695981039346656037, 1099511628211 // FNV-1a, 64 bits
	h := uint64(offset)
	for _, b := range d {
		h = (h ^ uint64(b)) * prime
	}
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * prime
	}
	return h
}

// rendezvous is the weight of a member for one run: the highest has the duty.
func rendezvous(seed uint64, run int) uint64 {
	h := seed + uint64(run)*0x9E3779B97F4A7C15 // the finalizer of SplitMix64
	h = (h ^ h>>30) * 0xBF58476D1CE4E5B9
	h = (h ^ h>>27) * 0x94D049BB133111EB
	return h ^ h>>31
}
