package sim

import (
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// The checks below are what no Machine may ever do, whatever its policies.

// limits are how much of each kind may be under way, by the scheduler's Config.
type limits struct{ uploads, waits, asks, asksPerPeer, asksAll, reads, readsAll, audits, checks, sessions int }

// Bounds that the Config does not name.
const (
	beside    = 1 // reads besides the duties: a rescue or a drip
	maxAudits = 8 // each costs the registry a chunk more
	fewAsks   = 2 // for each blob, whatever the limit over all
)

func limitsOf(c scheduler.Config) limits {
	c = c.WithDefaults()
	return limits{
		uploads: c.Uploads + scheduler.MaxStuck, waits: c.UploadQueue + c.Uploads + scheduler.MaxStuck, asks: c.AsksMax, asksPerPeer: c.AsksPerPeer,
		asksAll: c.AsksAll, reads: c.Reads + beside, readsAll: c.ReadsAll, audits: maxAudits, checks: c.Hashers, sessions: 2 * c.Neighbours,
	}
}

// checkWork: nothing is done for a download after its end.
func (n *node) checkWork(d *disk, does string) {
	switch {
	case !d.live():
		n.w.fail(n, "%s for %s after its end", does, d.digest().Short())
	case d.releasing || d.proven:
		n.w.fail(n, "%s for %s after its release", does, d.digest().Short())
	}
}

// checkAsk: only what is there is asked for, once, and only what is not here.
func (n *node) checkAsk(d *disk, s *session, a scheduler.AskPeer) {
	n.checkWork(d, "asks")
	switch {
	case !d.layer.geometry.Valid(a.Chunk):
		n.w.fail(n, "asks %s for chunk %d of %d", a.Peer, a.Chunk, d.n)
	case s == nil:
		n.w.fail(n, "asks %s without a session", a.Peer)
	case !s.has.Has(a.Chunk):
		n.w.fail(n, "asks %s for chunk %d, which it does not have", a.Peer, a.Chunk)
	case d.asked[a.Chunk] != 0:
		n.w.fail(n, "asks %s for chunk %d, which it asked of %s", a.Peer, a.Chunk, n.w.nodes[d.asked[a.Chunk]-1].id)
	case d.cells[a.Chunk].origin != absent:
		n.w.fail(n, "asks %s for chunk %d, which it has", a.Peer, a.Chunk)
	case s.wanting() >= n.w.limits.asksPerPeer:
		n.w.fail(n, "asks %s for more than %d chunks", a.Peer, n.w.limits.asksPerPeer)
	}
}

func (n *node) checkCancel(d *disk, a scheduler.CancelAsk) {
	n.w.fail(n, "cancels chunk %d of %s, which it did not ask of %s", a.Chunk, d.digest().Short(), a.Peer)
}

// checkServe: nothing is served that is neither R nor V, nor anything wrong.
func (n *node) checkServe(d *disk, a scheduler.Serve) {
	switch {
	case !d.live():
		n.w.fail(n, "serves %s after its end", d.digest().Short())
	case !d.servable.Has(a.Chunk):
		n.w.fail(n, "serves chunk %d, which is neither R nor V", a.Chunk)
	case d.cells[a.Chunk].content != 0 && n.spec.Registry != RegistryLies:
		n.w.fail(n, "serves wrong bytes as chunk %d", a.Chunk)
	}
}

// checkAnswer: every ask is answered once.
func (n *node) checkAnswer(s *session, at int, i blob.ChunkIndex) {
	if at < 0 {
		n.w.fail(n, "answers %s for chunk %d, which it does not wait for", s.far.id, i)
	} else if s.waits[at].queued {
		n.w.fail(n, "answers %s for chunk %d twice", s.far.id, i)
	}
}

// patienceWithAnswers is how long an ask may wait for any answer.
const patienceWithAnswers = 300 * second

// checkWaits: every ask is answered, or its session ends.
func (s *session) checkWaits() {
	for _, x := range s.waits {
		if s.node.w.now-x.since > patienceWithAnswers && !s.node.dead {
			s.node.w.fail(s.node, "has not answered %s for chunk %d since %v", s.far.id, x.chunk, seconds(x.since))
		}
	}
}

// checkTell: nothing is told that is neither R nor V.
func (n *node) checkTell(d *disk, a scheduler.TellHave) {
	switch {
	case a.Chunks.Len() != d.n:
		n.w.fail(n, "tells a set of %d chunks, of %d", a.Chunks.Len(), d.n)
	case !a.Chunks.Within(d.servable):
		for i := range a.Chunks.AndNot(d.servable) {
			n.w.fail(n, "tells chunk %d, which is neither R nor V", i)
		}
	case !d.live():
		n.w.fail(n, "tells what it has of %s after its end", d.digest().Short())
	}
}

// checkReading: what is told to be read is a few spans of the blob, in order.
func (n *node) checkReading(d *disk, a scheduler.TellReading) {
	if len(a.Spans) > scheduler.MaxSpans {
		n.w.fail(n, "tells %d spans that it reads", len(a.Spans))
	}
	var from blob.ChunkIndex
	for _, s := range a.Spans {
		if s.First < from || s.Count < 1 || s.Count > d.n-s.First {
			n.w.fail(n, "tells that it reads %d chunks from %d on, of %d", s.Count, s.First, d.n)
			return
		}
		from = s.End()
	}
}

// checkChain: only a chain is sent of which every link was checked.
func (n *node) checkChain(d *disk) {
	if !d.proven {
		n.w.fail(n, "sends a chain of %s that it did not check", d.digest().Short())
	}
}

// checkRead: reads lie within the blob, do not overlap, and need a registry.
func (n *node) checkRead(d *disk, a scheduler.ReadUpstream) {
	n.checkWork(d, "reads")
	if n.spec.Registry == RegistryUnknown {
		n.w.fail(n, "reads without a registry")
	}
	if a.First < 0 || a.Count < 1 || a.Count > d.n-a.First {
		n.w.fail(n, "reads %d chunks from %d on, of %d", a.Count, a.First, d.n)
	}
	for _, r := range d.reads {
		if !r.audit && r.next < a.First+a.Count && a.First < r.end {
			n.w.fail(n, "read %d overlaps read %d", a.Read, r.id)
		}
	}
}

func (n *node) checkAudit(d *disk, a scheduler.AuditChunk) {
	n.checkWork(d, "audits")
	if !d.layer.geometry.Valid(a.Chunk) {
		n.w.fail(n, "audits chunk %d of %d", a.Chunk, d.n)
	}
}

// checkQuarantine: whoever is honest is never blamed by a node with an honest registry.
func (n *node) checkQuarantine(far *node, a scheduler.Quarantine) {
	if far == nil || far.spec.honest() && n.spec.Registry != RegistryLies {
		n.w.fail(n, "quarantines %s, which is honest: %s", a.Peer, a.What)
	}
}

// checkSend: the bytes that leave are right ones, whatever happened to the chunk since Serve.
func (n *node) checkSend(d *disk, i blob.ChunkIndex, c content) {
	switch {
	case !d.servable.Has(i):
		n.w.fail(n, "sends chunk %d, which is neither R nor V", i)
	case c != 0 && n.spec.Registry != RegistryLies:
		n.w.fail(n, "sends wrong bytes as chunk %d", i)
	}
}

// checkGiven: a client gets what the book of this node's reads says that they brought, or what
// is proven, and right bytes.
func (n *node) checkGiven(d *disk, i blob.ChunkIndex) {
	switch {
	case !d.proven && !d.read.Has(i):
		n.w.fail(n, "gives a client chunk %d, which it did not read, before the proof", i)
	case d.cells[i].content != 0 && (d.proven || n.spec.Registry != RegistryLies):
		n.w.fail(n, "gives a client wrong bytes of chunk %d", i)
	}
}

// checkReadBytes: no byte comes from upstream once the blob is released, or given up.
func (n *node) checkReadBytes(d *disk, r *reading) {
	if d.releasing || !d.downloading() {
		n.w.fail(n, "read %d of %s goes on at chunk %d after its release", r.id, d.digest().Short(), r.next-1)
	}
}

// checkProven: what is released hashes to the digest.
func (n *node) checkProven(d *disk) {
	for i := range d.cells {
		if d.cells[i].content != 0 {
			n.w.fail(n, "releases wrong bytes of chunk %d", i)
			return
		}
	}
}

// checkLimits looks at how much is under way.
func (n *node) checkLimits() {
	l := &n.w.limits
	switch {
	case n.uploads > l.uploads:
		n.w.fail(n, "%d uploads at a time", n.uploads)
	case n.waits > l.waits:
		n.w.fail(n, "lets %d asks wait", n.waits)
	}
	asks, reads := 0, 0
	for _, d := range n.disks {
		asks, reads = asks+d.asks, reads+len(d.reads)-d.audits
		switch {
		case d.asks > l.asks:
			n.w.fail(n, "%d asks for %s", d.asks, d.digest().Short())
		case len(d.reads)-d.audits > l.reads:
			n.w.fail(n, "%d reads of %s", len(d.reads)-d.audits, d.digest().Short())
		case d.audits > l.audits:
			n.w.fail(n, "%d audits of %s", d.audits, d.digest().Short())
		case d.checks > l.checks:
			n.w.fail(n, "checks %d links of %s at a time", d.checks, d.digest().Short())
		case d.heard > l.sessions:
			n.w.fail(n, "%d sessions about %s", d.heard, d.digest().Short())
		}
	}
	switch {
	case asks > max(l.asksAll, fewAsks*len(n.disks)):
		n.w.fail(n, "%d asks for all blobs", asks)
	case reads > l.readsAll:
		n.w.fail(n, "%d reads of all blobs", reads)
	}
}

// checkEnd: every download of a living node has ended, with a registry in success, and nobody
// waits for an answer too long.
func (w *world) checkEnd() {
	for _, n := range w.nodes {
		for _, d := range n.disks {
			for _, s := range d.sessions {
				s.checkWaits()
			}
			switch {
			case n.dead || !n.begun || n.spec.Lies != 0 || d.proven:
			case !d.ended:
				w.fail(n, "neither has blob %s nor gave it up in the end", d.digest().Short())
			case n.spec.Registry == RegistryWorks:
				w.fail(n, "has no blob %s in the end: %s", d.digest().Short(), d.why)
			}
		}
	}
}
