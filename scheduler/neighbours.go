package scheduler

// Bounds on what strangers can make this node remember and do.
const (
	maxKnown      = 1024 // candidates kept for one blob
	maxShunned    = 1024
	maxTold       = 64  // peers taken from one message
	maxFromOne    = 64  // candidates that one peer named
	maxPeerID     = 128 // bytes
	maxConnecting = 16  // sessions being opened for one blob

	connectTimeout = 15 * second
	lookupTimeout  = 60 * second
	// enoughPeers is how many sessions make another DHT lookup needless.
	enoughPeers = 8
	// dry is how many times the patience with one peer a swarm may bring nothing before the DHT is
	// asked for others.
	dry = 3
)

// Peer exchange. In its first moments a swarm grows fast, and everybody wants to know all.
const (
	exchangeEvery = second
	exchangeYoung = 25 * millisecond
	exchangeCount = 32
	// introduction is how long a peer that has not said what it holds is waited for: beside chunks a
	// message takes a quarter of a second where links are full.
	introduction = 250 * millisecond
	// quiet is how long no member may have come before a swarm's size is taken as known.
	quiet = 50 * millisecond
)

// A neighbourhood is how a swarm comes by its peers.
type neighbourhood struct {
	known      candidates // to connect to
	connecting map[PeerID]candidate
	elsewhere  map[PeerID]Time // members that had no room for this node, and until when they count
	avoid      map[PeerID]Time // could not be reached: not dialled before; welcome when they dial

	looking  bool // a lookup is under way
	lookAt   Time // when the next one starts, or the one under way is given up
	lookups  int
	lookedUp bool // one has ended

	grewAt    Time // when a member was last heard of
	settledAt Time // when the swarm's size was first taken as known; 0: not yet
}

func newNeighbourhood(now Time) neighbourhood {
	return neighbourhood{known: newCandidates(), connecting: map[PeerID]candidate{}, elsewhere: map[PeerID]Time{}, avoid: map[PeerID]Time{}, lookAt: now, grewAt: now}
}

// drop forgets a candidate.
func (h *neighbourhood) drop(id PeerID) {
	delete(h.connecting, id)
	h.known.drop(id)
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
	if m.members == 0 {
		return
	}
	at := h.lookAt
	if len(s.sorted) >= min(enoughPeers, m.cfg.Neighbours, m.members) {
		if len(s.sorted) >= m.members {
			return
		}
		at = max(at, s.started+dry*m.patience(s), s.lastGain+dry*m.patience(s)) // they may be liars who name but each other
	}
	if !m.due(s, at) {
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
	m.learn(s, "", ev.Peers)
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

// learn remembers candidates. A peer is not listened to when most of those that it named so
// far could not be reached.
func (m *Machine) learn(s *swarm, teller PeerID, ids []PeerID) {
	p := s.peers[teller]
	if s.proven || p != nil && p.boasts() {
		return
	}
	h := &s.hood
	for _, id := range ids[:min(len(ids), maxTold)] {
		_, connecting := h.connecting[id]
		switch {
		case id == "" || len(id) > maxPeerID || id == m.cfg.Self || connecting || s.peers[id] != nil:
		case h.avoid[id] > m.now || m.refused(id) || h.known.has(id):
		case teller != "" && h.known.from[teller] >= maxFromOne: // others may name it
		default:
			if len(h.known.list) >= maxKnown { // somebody may have filled it with names that do not exist
				h.known.take(m.random.IntN(len(h.known.list)))
			}
			c := newCandidate(s.blob, id)
			c.teller = teller
			h.known.add(c)
			h.grewAt = m.now
			s.order.named = s.order.named || m.crowded(s)
		}
	}
}

// reached and unreached keep account of what came of the names that a peer told.
func (m *Machine) reached(s *swarm, id PeerID) {
	if c, ok := s.hood.connecting[id]; ok && s.peers[c.teller] != nil {
		s.peers[c.teller].reached++
	}
}

func (m *Machine) unreached(s *swarm, id PeerID) {
	c, ok := s.hood.connecting[id]
	p := s.peers[c.teller]
	if !ok || p == nil {
		return
	}
	if p.unreached++; p.boasts() {
		s.hood.known.dropNamedBy(p.id)
		s.order.named = true
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
			m.learn(s, "", []PeerID{p.id})
		}
	}
}

// neighbours is how many sessions this node opens for a blob: a small one is not worth many.
func (m *Machine) neighbours(s *swarm) int {
	const least = 32
	return min(m.cfg.Neighbours, max(least, int(s.n)))
}

// connect opens sessions to candidates up to the limits.
func (m *Machine) connect(s *swarm) {
	h := &s.hood
	for id, c := range h.connecting {
		if at := c.since + connectTimeout; at <= m.now {
			m.unreached(s, id)
			delete(h.connecting, id)
			s.order.named = true
		} else {
			m.wakeAt(s, at)
		}
	}
	for len(h.known.list) > 0 && len(h.connecting) < maxConnecting {
		at := m.nextCandidate(s)
		c := h.known.list[at]
		if taken, most := len(s.sorted)+len(h.connecting), m.neighbours(s); taken >= most {
			m.arrange(s)
			if c.weight < s.order.least || taken >= 2*most {
				return // there is room only for those who share the reads
			}
		}
		h.known.take(at)
		if m.refused(c.id) || h.avoid[c.id] > m.now {
			s.order.named = true
			continue
		}
		c.since = m.now
		h.connecting[c.id] = c
		s.order.named = true
		m.wakeAt(s, m.now+connectTimeout)
		m.do(Connect{Blob: s.blob, Peer: c.id})
	}
}

// nextCandidate chooses whom to connect to: those who share the reads first, as they have
// what nobody else has; then in turns who comes before this node in the line, and anybody.
func (m *Machine) nextCandidate(s *swarm) int {
	h := &s.hood
	best := 0
	var better func(a, b candidate) bool
	switch taken := len(s.sorted) + len(h.connecting); {
	case 3*taken < 2*m.neighbours(s), taken >= m.neighbours(s):
		better = func(a, b candidate) bool { return a.weight > b.weight }
	case taken%2 == 0:
		place := rendezvous(s.order.self, onRing)
		before := func(c candidate) uint64 { return place - rendezvous(c.seed, onRing) }
		better = func(a, b candidate) bool { return before(a) < before(b) }
	default:
		return m.random.IntN(len(h.known.list))
	}
	for i, c := range h.known.list {
		if better(c, h.known.list[best]) {
			best = i
		}
	}
	return best
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
	if s.toldJoins == s.joins {
		return
	}
	all := true
	for _, p := range s.sorted {
		if p.seeder() || p.toldUpTo >= s.joins {
			continue
		}
		every := exchangeEvery
		if m.now < s.started+second {
			every = exchangeYoung
		}
		if at := p.toldAt + every; m.now < at {
			m.wakeAt(s, at)
			all = false
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
	if all {
		s.toldJoins = s.joins
	}
}

// anybody reports whether a peer is here or may still come of what is known.
func (m *Machine) anybody(s *swarm) bool {
	h := &s.hood
	if len(s.sorted) > 0 || len(h.connecting) > 0 || len(h.known.list) > 0 {
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
	if s.n <= s.widestRun() {
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
// first look is over, no more members are heard of, and those in session have said what
// they hold.
func (m *Machine) settled(s *swarm) bool {
	h := &s.hood
	if h.settledAt > 0 {
		return true
	}
	at := s.started + m.lookupWait(s)
	if len(s.sorted) >= m.members {
		at = m.now // everybody is here
	} else {
		most := m.cfg.SettleWait
		if s.n <= s.widestRun() {
			most /= 4
		}
		at = min(max(at, h.grewAt+quiet), s.started+most)
	}
	for _, p := range s.sorted {
		if !p.introduced {
			at = max(at, min(p.joined+introduction, s.started+m.cfg.SettleWait))
		}
	}
	if m.now < at {
		m.wakeAt(s, at)
		return false
	}
	h.settledAt = m.now
	return true
}
