package scheduler

import "github.com/shoal-project/shoal/pkg/blob"

// tells is what the swarm's peers have not been told yet.
type tells struct {
	fresh blob.Bitset // R or V since the last TellHave
	all   bool        // the blob was proven: everything
	at    Time        // of the last TellHave to all
}

// tellEvery is how long news of chunks is gathered.
const tellEvery = 20 * millisecond

// tell names new R and V chunks to the peers, at once or a little later together with
// others. Seeders are not told.
func (m *Machine) tell(s *swarm) {
	t := &s.tells
	if !t.all && (t.fresh.Len() == 0 || t.fresh.Count() == 0) {
		return
	}
	if at := t.at + tellEvery; m.now < at && !t.all {
		m.wakeAt(s, at)
		return
	}
	chunks := t.fresh
	if t.all {
		chunks = s.servable.Clone()
	}
	t.fresh, t.all, t.at = blob.NewBitset(s.n), false, m.now
	var to []PeerID
	for _, p := range s.sorted {
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
