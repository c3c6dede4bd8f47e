package scheduler

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A check is one CheckLink under way.
type check struct {
	chunk    blob.ChunkIndex
	supplier PeerID
}

// proof is how far the download is proven.
type proof struct {
	first    bool   // this node verifies: it is among the first to be served while there is no chain
	has      bool   // there is a chain to check links under
	supplier PeerID // whose
	waiting  []PeerID
	refuted  map[PeerID]bool // whose chains are not believed any more
	checks   map[check]bool
	linked   int             // links that hold under the chain
	broken   int             // links that did not, without an audit
	breakers map[PeerID]bool // who sent what they refused
	audited  bool            // the chain's one audit is spent
	convicts []PeerID        // who sent bytes that proven links refuse, to be quarantined

	prefix    prefix
	releasing bool
	releases  int // that failed
}

// prefix is this node's own hashing from the IV on, which needs no chain.
type prefix struct {
	next    blob.ChunkIndex
	busy    bool
	stale   bool // a chunk below next changed while hashing
	retryAt Time
}

const (
	// MaxChains bounds the chains of one blob that the Machine and its shell remember: liars have
	// theirs before anybody has a true one, and many of them must not leave it no room.
	MaxChains = 16
	// MaxRefuted bounds how many suppliers may turn out wrong before chains are not tried any more.
	MaxRefuted = 64
	// maxBroken is how many links of one chain may fail without an audit before it is
	// not believed any more, if they are many of all that were checked and as many peers sent them.
	maxBroken = 3
	// maxReleases is how often the store may refuse to close the chain before everything
	// is read anew.
	maxReleases = 3
)

func newProof() proof {
	return proof{refuted: map[PeerID]bool{}, checks: map[check]bool{}, breakers: map[PeerID]bool{}}
}

func (p *proof) dropWaiting(id PeerID) {
	p.waiting = slices.DeleteFunc(p.waiting, func(w PeerID) bool { return w == id })
}

// chainArrived takes a chain as a claim. One is checked at a time, the others wait.
func (m *Machine) chainArrived(s *swarm, from PeerID) {
	p := &s.proof
	if q := s.peers[from]; q != nil && q.doubted && !p.refuted[from] {
		q.doubted = false
		m.cover(s, q)
	}
	if p.refuted[from] || p.has && p.supplier == from || slices.Contains(p.waiting, from) || m.refused(from) {
		return
	}
	if len(p.waiting)+1 >= MaxChains || len(p.refuted) >= MaxRefuted {
		return
	}
	p.waiting = append(p.waiting, from)
}

// doubt passes over seeders without a chain: whoever has the whole blob has one. And it relies on
// nobody who hoards: what is held by one is as soon read from upstream by all.
func (m *Machine) doubt(s *swarm) {
	if s.proof.has || len(s.proof.waiting) > 0 || !s.up.usable() || s.mostHeld <= min(s.muchHeld(), s.n-1) {
		return
	}
	for _, p := range s.sorted {
		switch {
		case p.seeder():
			if !p.doubted && m.due(s, p.seederAt+chainDue) {
				m.uncover(s, p)
				p.doubted, s.dirty = true, true
			}
		case !p.hoards && m.muchForOne(s, p):
			if p.muchAt = cmp.Or(p.muchAt, m.now); m.due(s, p.muchAt+muchDue) {
				m.uncover(s, p)
				p.hoards, s.dirty = true, true
			}
		}
	}
}

// muchForOne reports whether a peer says that it has more than one of several members, who read
// together, is likely to have before there is a chain. Who began alone has so much too; it is
// asked like others, but its uplink is one.
func (m *Machine) muchForOne(s *swarm, p *peer) bool {
	const several = 3
	return len(s.sorted) >= several && p.count > s.muchHeld()
}

// muchHeld is how many chunks one of several may have without having much for one.
func (s *swarm) muchHeld() blob.ChunkIndex { return max(s.n/2, s.widestRun()) }

// adopt takes the chain that waits longest as the one that links are checked under.
func (m *Machine) adopt(s *swarm) {
	p := &s.proof
	if !p.has && len(p.waiting) > 0 && !s.mend.active && !p.releasing && !s.mend.solo {
		p.supplier, p.has = p.waiting[0], true
		p.waiting = p.waiting[1:]
		s.asks.lap.at = m.now
		for _, q := range s.sorted { // what is handed on now can be checked at once
			if q.hoards {
				q.hoards = false
				m.cover(s, q)
			}
		}
	}
}

// verify moves the proof on: links under a chain, tail first, or else the prefix. Once
// everything is linked the store is asked to close the chain.
func (m *Machine) verify(s *swarm) {
	p := &s.proof
	if s.mend.active || p.releasing {
		return
	}
	if m.allLinked(s) {
		p.releasing = true
		m.do(Release{Blob: s.blob})
		return
	}
	if p.has {
		m.checkLinks(s)
		return
	}
	m.hashPrefix(s)
}

func (m *Machine) allLinked(s *swarm) bool {
	if s.missing > 0 || s.mend.audits > 0 || s.proof.prefix.busy {
		return false
	}
	return s.open == 0 || !s.proof.has && s.proof.prefix.next == s.n
}

// setLinked records whether the link of a chunk holds.
func (s *swarm) setLinked(i blob.ChunkIndex, holds bool) {
	c := &s.chunks[i]
	c.linked = holds
	switch {
	case !holds && c.state != missing:
		if s.unlinked.Add(i) {
			s.open++
		}
	case s.unlinked.Has(i):
		s.unlinked.Remove(i)
		s.open--
	}
}

// checkLinks has links checked from the tail down, so that what is anchored grows. What
// this node hashed from the IV itself comes last: the store may find that it fits.
func (m *Machine) checkLinks(s *swarm) {
	p := &s.proof
	if m.checkDown(s, p.prefix.next, s.n) && s.missing == 0 {
		m.checkDown(s, 0, p.prefix.next)
	}
}

// checkDown has the links of the chunks from end down to first checked as far as there are
// hashers, and reports whether all of those that are here hold.
func (m *Machine) checkDown(s *swarm, first, end blob.ChunkIndex) (all bool) {
	p := &s.proof
	all = true
	for w := s.unlinked.Words() - 1; w >= int(first/64); w-- {
		for word := s.unlinked.Word(w); word != 0; {
			bit := 63 - bits.LeadingZeros64(word)
			word &^= 1 << bit
			i := blob.ChunkIndex(w*64 + bit)
			if i >= end || i < first {
				continue
			}
			all = false
			c, this := &s.chunks[i], check{i, p.supplier}
			if c.suspect || c.auditing || p.checks[this] {
				continue
			}
			if len(p.checks) >= m.cfg.Hashers {
				return false
			}
			p.checks[this] = true
			m.do(CheckLink{Blob: s.blob, Chunk: i, Supplier: p.supplier})
		}
	}
	return all
}

// linkChecked takes a verdict about one link.
func (m *Machine) linkChecked(s *swarm, ev LinkChecked) {
	p := &s.proof
	delete(p.checks, check{ev.Chunk, ev.Supplier})
	m.verifiedBy(s, ev.Verified)
	if !s.geometry.Valid(ev.Chunk) || !p.has || ev.Supplier != p.supplier {
		return
	}
	c := &s.chunks[ev.Chunk]
	switch {
	case c.state == missing || c.linked || c.auditing:
	case ev.Holds:
		s.setLinked(ev.Chunk, true)
		p.linked++
	case c.state == registry, c.state == verified:
		m.refute(s, c.state == registry) // these bytes are the registry's
	default:
		m.suspect(s, ev.Chunk)
	}
}

// verifiedBy marks what the store found anchored to the digest.
func (m *Machine) verifiedBy(s *swarm, chunks []blob.ChunkIndex) {
	for _, i := range chunks {
		if !s.geometry.Valid(i) || s.chunks[i].state == missing {
			continue
		}
		s.setLinked(i, true)
		s.convict(i)
		if s.chunks[i].state == quarantined {
			m.setState(s, i, verified)
		}
	}
}

// suspect handles a link that failed: its chunk's sender or the chain's supplier lied.
// One audit for each chain tells; lies must not amplify registry reads. A chunk that three peers sent
// in vain, or all who have it, is read as well: either the chain turns out wrong, or all of them lied.
func (m *Machine) suspect(s *swarm, i blob.ChunkIndex) {
	p, c := &s.proof, &s.chunks[i]
	c.breaks++
	again := s.mend.audits == 0 && (c.breaks >= maxBroken || !s.elsewhere(i))
	if s.up.usable() && (!p.audited || again) {
		p.audited, c.breaks = true, 0
		c.suspect = true
		m.audit(s, i)
		return
	}
	m.dropSuspect(s, i)
}

// elsewhere reports whether a peer has a chunk and neither sent it last nor sent it wrong before.
func (s *swarm) elsewhere(i blob.ChunkIndex) bool {
	c := &s.chunks[i]
	return slices.ContainsFunc(s.sorted, func(p *peer) bool {
		return p.has.Has(i) && p.id != c.sender && !slices.Contains(c.avoid, p.id)
	})
}

// dropSuspect forgets a chunk whose link failed and gets it elsewhere. When too many
// fail, it is rather the chain that is wrong; without an audit nobody is blamed before the
// chain is proven.
func (m *Machine) dropSuspect(s *swarm, i blob.ChunkIndex) {
	p := &s.proof
	if s.chunks[i].state != quarantined {
		return
	}
	if p.has && s.chunks[i].accused == "" {
		s.chunks[i].accused = s.chunks[i].sender
	}
	sender := s.chunks[i].sender
	s.avoidPeer(i, sender)
	m.drop(s, i)
	p.broken++
	p.breakers[sender] = true
	if p.has && p.broken >= maxBroken && 4*p.broken > p.linked && len(p.breakers) >= min(maxBroken, s.suppliers()) {
		m.refute(s, false)
	}
}

// suppliers is how many peers sent what is not proven or was refused: where there are but one or
// two, they are all that a lie of the chain's can show in.
func (s *swarm) suppliers() int {
	n := len(s.proof.breakers)
	for _, id := range s.senders() {
		if id != "" && !s.proof.breakers[id] {
			n++
		}
	}
	return n
}

// refute drops the chain that is being checked and every verdict under it. The supplier
// is blamed only when the registry's own bytes do not fit.
func (m *Machine) refute(s *swarm, blame bool) {
	p := &s.proof
	supplier := p.supplier
	m.do(DropChain{Blob: s.blob, Supplier: supplier})
	p.refuted[supplier] = true
	p.has, p.supplier, p.linked, p.broken, p.audited = false, "", 0, 0, false
	s.wants++
	clear(p.breakers)
	for i := range s.n {
		c := &s.chunks[i]
		s.setLinked(i, c.state == verified)
		c.suspect, c.breaks = false, 0
	}
	s.dropCharges()
	s.proof.prefix = prefix{busy: p.prefix.busy, stale: p.prefix.busy}
	if blame {
		m.quarantine(supplier, s.blob, "sent a chain that the registry's bytes do not fit")
	}
}

// convict notes that the bytes which the chain refused as chunk i were wrong: its link is
// anchored to the digest now.
func (s *swarm) convict(i blob.ChunkIndex) {
	c := &s.chunks[i]
	if c.accused != "" {
		s.proof.convicts = append(s.proof.convicts, c.accused)
		c.accused = ""
	}
}

// dropCharges takes all accusations back: what they rested on is not proven. The accused may
// be asked again.
func (s *swarm) dropCharges() {
	for i := range s.chunks {
		if c := &s.chunks[i]; c.accused != "" {
			c.accused, c.avoid = "", nil
		}
	}
}

// punish quarantines who was convicted.
func (m *Machine) punish(s *swarm) {
	convicts := s.proof.convicts
	s.proof.convicts = nil
	for _, id := range convicts {
		m.quarantine(id, s.blob, "sent a chunk that the proven chain refuses")
	}
}

// convictAll convicts all who are accused: the whole chain is proven.
func (m *Machine) convictAll(s *swarm) {
	if !s.proof.has {
		return
	}
	for i := range s.n {
		s.convict(i)
	}
	m.punish(s)
}

// prefixChanged has the prefix start anew when a chunk of it is no longer what was hashed.
func (m *Machine) prefixChanged(s *swarm, i blob.ChunkIndex) {
	p := &s.proof.prefix
	if p.busy {
		p.stale = true
	}
	if i < p.next {
		p.next = 0
	}
}

// hashPrefix hashes what lies in a row after the prefix, a batch at a time, so that
// hashing overlaps the download.
func (m *Machine) hashPrefix(s *swarm) {
	p := &s.proof.prefix
	if p.busy {
		return
	}
	end := p.next
	for bytes := blob.ByteCount(0); end < s.n && s.chunks[end].state != missing && bytes < m.cfg.HashBatch; end++ {
		bytes += s.geometry.Length(end)
	}
	if end == p.next {
		return
	}
	if m.now < p.retryAt {
		m.wakeAt(s, p.retryAt)
		return
	}
	p.busy = true
	m.do(HashPrefix{Blob: s.blob, First: p.next, Through: end - 1})
}

// prefixHashed takes the progress of the prefix, or the news that the digest did not come out.
func (m *Machine) prefixHashed(s *swarm, ev PrefixHashed) {
	p := &s.proof.prefix
	if s.proof.releasing {
		if ev.Mismatch {
			m.releaseFailed(s)
		}
		return
	}
	stale := p.stale
	p.busy, p.stale = false, false
	if len(ev.Verified) > 0 {
		s.dropCharges() // it rests on no chain
	}
	m.verifiedBy(s, ev.Verified)
	switch {
	case stale:
		p.next = 0
	case ev.Mismatch:
		p.next = 0
		if !s.proof.has { // with a chain its links will tell which chunk it is
			m.mismatched(s)
		}
	case ev.Next <= p.next || ev.Next > s.n:
		p.retryAt = m.now + second // nothing was hashed: do not spin
	default:
		p.next = ev.Next
	}
}

// releaseFailed starts the proof anew after the store refused to close the chain.
func (m *Machine) releaseFailed(s *swarm) {
	p := &s.proof
	p.releasing = false
	p.releases++
	if p.has {
		m.refute(s, false)
	}
	for i := range s.n {
		s.setLinked(i, false)
	}
	p.prefix = prefix{retryAt: m.now + second}
	if p.releases >= maxReleases {
		p.releases = 0
		m.readAlone(s)
	}
}
