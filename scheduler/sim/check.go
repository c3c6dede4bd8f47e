package sim

import (
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// The checks below are what no Machine may ever do, whatever its policies. Their bounds
// are the documented defaults of scheduler.Config.
const (
	maxUploads     = 4
	maxAsks        = 16
	maxAsksPerPeer = 2
	maxReads       = 2
	maxChecks      = 1 // a rescue or a drip beside the duties
)

func (n *node) checkAsk(a scheduler.AskPeer) {
	d, s := n.disk(a.Blob), n.session(a.Peer, a.Blob)
	if other, twice := d.asked[a.Chunk]; twice {
		n.w.fail(n, "asks %s for chunk %d, which it asked of %s", a.Peer, a.Chunk, other)
	}
	switch {
	case s == nil:
		n.w.fail(n, "asks %s without a session", a.Peer)
	case !s.open: // it will hear of it
	case !s.has.Has(a.Chunk):
		n.w.fail(n, "asks %s for chunk %d, which it does not have", a.Peer, a.Chunk)
	}
	if d.state[a.Chunk] != absent {
		// The event that says so may be on its way: only what the Machine knows counts.
		// Everything in this model is reported at once, so it does know.
		n.w.fail(n, "asks for chunk %d, which it has", a.Chunk)
	}
}

func (n *node) checkServe(a scheduler.Serve) {
	d := n.disk(a.Blob)
	if !d.servable(a.Chunk) {
		n.w.fail(n, "serves chunk %d, which is neither R nor V", a.Chunk)
	}
	if d.content[a.Chunk] != 0 && n.spec.Registry != RegistryLies {
		n.w.fail(n, "serves wrong bytes as chunk %d", a.Chunk)
	}
	if n.uploads[sent{a.Peer, a.Blob, a.Chunk}] {
		n.w.fail(n, "serves chunk %d to %s twice at once", a.Chunk, a.Peer)
	}
}

func (n *node) checkRead(a scheduler.ReadUpstream) {
	d := n.disk(a.Blob)
	if n.spec.Registry == RegistryUnknown {
		n.w.fail(n, "reads without a registry")
	}
	if a.First < 0 || a.Count < 1 || a.First+a.Count > d.n {
		n.w.fail(n, "reads %d chunks from %d on", a.Count, a.First)
	}
	for id, other := range d.reads {
		if !other.cancelled && other.first < a.First+a.Count && a.First < other.end {
			n.w.fail(n, "read %d overlaps read %d", a.Read, id)
		}
	}
}

// checkQuarantine: whoever is honest is never blamed by a node with an honest registry.
func (n *node) checkQuarantine(a scheduler.Quarantine) {
	if far := n.w.byID[a.Peer]; far == nil || far.spec.honest() && n.spec.Registry != RegistryLies {
		n.w.fail(n, "quarantines %s, which is honest: %s", a.Peer, a.What)
	}
}

// checkLimits looks at how much is under way.
func (n *node) checkLimits() {
	if len(n.uploads) > maxUploads {
		n.w.fail(n, "%d uploads at a time", len(n.uploads))
	}
	for _, d := range n.disks {
		perPeer := map[scheduler.PeerID]int{}
		for _, p := range d.asked {
			perPeer[p]++
			if perPeer[p] > maxAsksPerPeer {
				n.w.fail(n, "%d asks of %s", perPeer[p], p)
			}
		}
		if len(d.asked) > maxAsks {
			n.w.fail(n, "%d asks", len(d.asked))
		}
		reads := 0
		for _, rd := range d.reads {
			if !rd.cancelled {
				reads++
			}
		}
		if reads > maxReads+maxChecks {
			n.w.fail(n, "%d reads of %s", reads, blobName(d.blob))
		}
	}
}

func blobName(d blob.Digest) string { return d.Short() }
