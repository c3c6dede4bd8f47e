package scheduler

import "github.com/shoal-project/shoal/pkg/blob"

// tells is what the swarm's peers have not been told yet. While there is no chain, every
// chunk that may be handed on is news to everybody. Later all hand on, and a peer waits for
// those just before it in the line: it hears at once, the others now and then.
type tells struct {
	soon, late     blob.Bitset     // R or V since the last TellHave to the next in line, or to all
	news           blob.ChunkIndex // chunks in soon
	soonAt, lateAt Time            // of those
	all            bool            // the blob was proven: everything
}

const (
	// tellEvery is how long news of chunks is gathered, and tellNext for the next in line.
	tellEvery = 20 * millisecond
	tellNext  = 5 * millisecond
	tellLate  = 250 * millisecond
)

func newTells() tells { return tells{soonAt: -never, lateAt: -never} }

// reset empties the sets, for a blob of n chunks.
func (t *tells) reset(n blob.ChunkIndex) {
	t.soon, t.late, t.news = blob.NewBitset(n), blob.NewBitset(n), 0
}

func (t *tells) add(i blob.ChunkIndex) {
	t.late.Add(i)
	if t.soon.Add(i) {
		t.news++
	}
}

func (t *tells) remove(i blob.ChunkIndex) {
	t.late.Remove(i)
	if t.soon.Has(i) {
		t.soon.Remove(i)
		t.news--
	}
}

// tell names new R and V chunks to the peers, at once or a little later together with
// others. Seeders are not told.
func (m *Machine) tell(s *swarm) {
	t := &s.tells
	switch {
	case t.all:
		m.tellAll(s, s.servable.Clone())
	case t.late.Len() == 0:
	case !s.proof.has:
		if t.news > 0 && m.due(s, t.soonAt+tellEvery) {
			m.tellAll(s, t.soon)
		}
	default:
		m.tellLine(s)
	}
}

// due reports whether t has come, and wakes then if not.
func (m *Machine) due(s *swarm, t Time) bool {
	if m.now < t {
		m.wakeAt(s, t)
		return false
	}
	return true
}

// tellAll tells every peer that is no seeder.
func (m *Machine) tellAll(s *swarm, chunks blob.Bitset) {
	t := &s.tells
	t.reset(s.n)
	t.all, t.soonAt, t.lateAt = false, m.now, m.now
	m.tellThese(s, s.sorted, chunks)
}

// tellLine tells those who come next in the line often, and those whose finger this node is while chunks
// lie scattered; everybody now and then.
func (m *Machine) tellLine(s *swarm) {
	t := &s.tells
	if t.late.Count() == 0 || m.due(s, t.lateAt+tellLate) {
		if t.late.Count() > 0 {
			m.tellAll(s, t.late)
		}
		return
	}
	if t.news > 0 && m.due(s, t.soonAt+tellNext) {
		m.arrange(s)
		next := s.order.next
		if !s.scattered() { // mostly nobody is then, and all ask along the line
			next = next[:min(successors, len(next))]
		}
		m.tellThese(s, next, t.soon)
		t.soon, t.news, t.soonAt = blob.NewBitset(s.n), 0, m.now
	}
}

func (m *Machine) tellThese(s *swarm, peers []*peer, chunks blob.Bitset) {
	var to []PeerID
	for _, p := range peers {
		if !p.seeder() {
			to = append(to, p.id)
		}
	}
	if len(to) > 0 {
		m.do(TellHave{Blob: s.blob, Peers: to, Chunks: chunks})
	}
}

// sendChains gives the chain to every peer that is not known to be a seeder, once. A
// peer that just joined gets a moment to say what it holds.
func (m *Machine) sendChains(s *swarm) {
	var to []PeerID
	for _, p := range s.sorted {
		if p.chainSent || p.seeder() {
			continue
		}
		if at := p.joined + m.cfg.Stagger; !p.introduced && m.now < at {
			m.wakeAt(s, at)
			continue
		}
		p.chainSent = true
		to = append(to, p.id)
	}
	if len(to) > 0 {
		m.do(SendChain{Blob: s.blob, Peers: to})
	}
}
