package sim

import (
	"slices"

	"github.com/shoal-project/shoal/scheduler"
)

// perform carries out one action.
func (n *node) perform(action scheduler.Action) {
	if n.spec.Lies != 0 && n.lieInsteadOf(action) {
		return
	}
	switch a := action.(type) {
	case scheduler.FindPeers:
		n.findPeers(a)
	case scheduler.Announce:
		n.announce(a)
	case scheduler.Connect:
		n.connect(a)
	case scheduler.Disconnect:
		n.disconnect(a)
	case scheduler.AskPeer:
		n.ask(a)
	case scheduler.CancelAsk:
		n.cancelAsk(a)
	case scheduler.Serve:
		n.serve(a)
	case scheduler.RefuseBusy:
		n.refuseBusy(a)
	case scheduler.TellHave:
		n.tellHave(a)
	case scheduler.TellReading:
		n.tellReading(a)
	case scheduler.TellPeers:
		n.tellPeers(a)
	case scheduler.SendChain:
		n.sendChain(a)
	default:
		n.work(action)
	}
}

// work carries out an action between the node, its disk and the registry.
func (n *node) work(action scheduler.Action) {
	switch a := action.(type) { //nolint:gochecksumtype // perform has the others
	case scheduler.ReadUpstream:
		n.readUpstream(a)
	case scheduler.CancelRead:
		n.cancelRead(a)
	case scheduler.CheckLink:
		n.checkLink(a)
	case scheduler.HashPrefix:
		n.hashPrefix(a)
	case scheduler.AuditChunk:
		n.auditChunk(a)
	case scheduler.ReadHead:
		n.readHead(a)
	case scheduler.DropChunk:
		n.disk(a.Blob).lose(a.Chunk)
	case scheduler.DropChain:
		n.dropChain(a)
	case scheduler.Release:
		n.release(a)
	case scheduler.Abandon:
		n.abandon(a)
	case scheduler.Quarantine:
		n.quarantine(a)
	default:
		panic("sim: an action that nobody carries out")
	}
}

func (n *node) disconnect(a scheduler.Disconnect) {
	if s := n.disk(a.Blob).session(n.w.byID[a.Peer]); s != nil {
		s.disconnect()
	}
}

func (n *node) tellHave(a scheduler.TellHave) {
	d := n.disk(a.Blob)
	n.checkTell(d, a)
	for _, p := range a.Peers {
		if s := d.session(n.w.byID[p]); s != nil {
			s.send(scheduler.PeerHas{Blob: a.Blob, Peer: n.id, Chunks: a.Chunks.Clone()})
		}
	}
}

func (n *node) tellReading(a scheduler.TellReading) {
	d := n.disk(a.Blob)
	n.checkReading(d, a)
	for _, p := range a.Peers {
		if s := d.session(n.w.byID[p]); s != nil {
			s.send(scheduler.PeerReads{Blob: a.Blob, Peer: n.id, Spans: slices.Clone(a.Spans)})
		}
	}
}

func (n *node) tellPeers(a scheduler.TellPeers) {
	s := n.disk(a.Blob).session(n.w.byID[a.Peer])
	if s == nil || n.w.cfg.LostTales > 0 && n.w.random.Float64() < n.w.cfg.LostTales {
		return
	}
	s.send(scheduler.PeersTold{Blob: a.Blob, Peer: n.id, Peers: slices.Clone(a.Peers)})
}

func (n *node) sendChain(a scheduler.SendChain) {
	d := n.disk(a.Blob)
	n.checkChain(d)
	for _, p := range a.Peers {
		if s := d.session(n.w.byID[p]); s != nil {
			s.sendChain(&chain{})
		}
	}
}

// sendChain has a chain reach the far side.
func (s *session) sendChain(c *chain) {
	s.after(chainMessage{s.other, c})
}

// A chainMessage reaches one side of a session.
type chainMessage struct {
	to    *session
	chain *chain
}

func (m chainMessage) happen(w *world) {
	s := m.to
	if until, cut := w.partedUntil(s.node, s.far); cut {
		w.after(until-w.now, m)
		return
	}
	if s.open && s.disk.downloading() && s.disk.keepClaim(s.far, m.chain) {
		s.node.step(scheduler.ChainArrived{Blob: s.disk.digest(), Peer: s.far.id})
	}
}

// keepClaim keeps a peer's first chain and reports whether it did.
func (d *disk) keepClaim(from *node, c *chain) bool {
	if d.claims[from.number] != nil || d.refuted[from.number] ||
		len(d.claims) >= scheduler.MaxChains || len(d.refuted) >= scheduler.MaxRefuted {
		return false
	}
	d.claims[from.number] = c
	return true
}

// claim is the chain that a peer supplied, or nil.
func (d *disk) claim(supplier scheduler.PeerID) *chain {
	if far := d.node.w.byID[supplier]; far != nil {
		return d.claims[far.number]
	}
	return nil
}

func (n *node) dropChain(a scheduler.DropChain) {
	d := n.disk(a.Blob)
	if far := n.w.byID[a.Supplier]; far != nil {
		delete(d.claims, far.number)
		d.refuted[far.number] = true
	}
	d.dropLinks()
}

func (n *node) checkLink(a scheduler.CheckLink) {
	d := n.disk(a.Blob)
	n.checkWork(d, "checks a link")
	d.checks++
	n.onCore(linkCheck{d, a})
}

func (n *node) hashPrefix(a scheduler.HashPrefix) {
	d := n.disk(a.Blob)
	n.checkWork(d, "hashes")
	n.onCore(prefixHash{d, a})
}

func (n *node) release(a scheduler.Release) {
	d := n.disk(a.Blob)
	n.checkWork(d, "releases")
	d.releasing = true
	n.onCore(proof{d})
}

// abandon ends the download without the blob. What is under way for it ends too.
func (n *node) abandon(a scheduler.Abandon) {
	d := n.disk(a.Blob)
	for _, r := range slices.Clone(d.reads) {
		r.close(n.w)
	}
	d.ended, d.why, d.at = true, a.Why, n.w.now
	n.await(-1)
}

func (n *node) quarantine(a scheduler.Quarantine) {
	far := n.w.byID[a.Peer]
	n.checkQuarantine(far, a)
	if far == nil {
		return
	}
	far.sentences++
	n.blocked[far.number] = n.w.now + a.For
	n.connected[far.number], far.connected[n.number] = false, false
	for _, d := range n.disks {
		if s := d.session(far); s != nil {
			s.disconnect()
		}
	}
}
