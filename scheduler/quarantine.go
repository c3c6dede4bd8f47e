package scheduler

import (
	"cmp"
	"maps"
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A sentence is the quarantine of one peer.
type sentence struct {
	until Time
	times int
	blob  blob.Digest
	what  string
}

// maxSentences bounds the peers remembered for misbehaviour.
const maxSentences = 4096

// refused reports whether nothing is to be had from the peer now.
func (m *Machine) refused(id PeerID) bool {
	s := m.banned[id]
	return s != nil && s.until > m.now
}

// quarantine refuses a peer in every swarm for a while, twice as long each time. It
// starts with a clean slate after a peaceful QuarantineMax.
func (m *Machine) quarantine(id PeerID, d blob.Digest, what string) {
	if id == "" || id == m.cfg.Self || m.refused(id) {
		return
	}
	old := m.banned[id]
	if old == nil || old.until+m.cfg.QuarantineMax < m.now {
		m.makeRoom()
		old = &sentence{}
		m.banned[id] = old
	}
	term := m.cfg.QuarantineBase
	for range old.times {
		term = min(2*term, m.cfg.QuarantineMax)
	}
	old.times++
	old.until, old.blob, old.what = m.now+term, d, what
	for _, s := range m.order {
		s.hood.drop(id)
		delete(s.hood.elsewhere, id)
		s.dirty, s.order.stale = true, true
		if p := s.peers[id]; p != nil {
			m.forget(s, p)
		}
		s.proof.dropWaiting(id)
	}
	m.do(Quarantine{Peer: id, Blob: d, What: what, For: term})
}

// makeRoom forgets the sentence that ends first when there are too many.
func (m *Machine) makeRoom() {
	if len(m.banned) < maxSentences {
		return
	}
	ids := slices.Sorted(maps.Keys(m.banned))
	first := slices.MinFunc(ids, func(a, b PeerID) int { return cmp.Compare(m.banned[a].until, m.banned[b].until) })
	delete(m.banned, first)
}
