package sim

import "github.com/shoal-project/shoal/scheduler"

// hashRate is how fast a core hashes, in bytes a second.
const hashRate = 1 << 30

// upstreamContent is what the registry serves this node; ok is false when it does not.
func (n *node) upstreamContent() (content int, why scheduler.Fault) {
	switch {
	case n.spec.Registry == RegistryRefuses:
		return 0, scheduler.FaultUnauthorized
	case n.spec.Registry == RegistryUnknown:
		return 0, scheduler.FaultGone
	case n.w.now >= n.spec.Outage[0] && n.w.now < n.spec.Outage[1]:
		return 0, scheduler.FaultTransient
	case n.spec.Registry == RegistryLies:
		return -1, scheduler.FaultNone
	}
	return 0, scheduler.FaultNone
}

func (n *node) readUpstream(a scheduler.ReadUpstream) {
	n.checkRead(a)
	n.disk(a.Blob).reads[a.Read] = &reading{first: a.First, end: a.First + a.Count}
	n.w.after(n.w.cfg.UpstreamLatency, func() { n.readNext(a) })
}

// readNext delivers the next chunk of a read, or ends it.
func (n *node) readNext(a scheduler.ReadUpstream) {
	d := n.disk(a.Blob)
	rd := d.reads[a.Read]
	_, why := n.upstreamContent()
	if rd.cancelled || d.ended || d.proven {
		why = scheduler.FaultCancelled
	}
	if why != scheduler.FaultNone || rd.first == rd.end {
		delete(d.reads, a.Read)
		n.step(scheduler.ReadEnded{Blob: a.Blob, Read: a.Read, Why: why})
		return
	}
	i := rd.first
	size := d.geometry.Length(i)
	start := max(n.w.now, n.downlinkFree)
	n.downlinkFree = start + scheduler.Time(int64(size)*int64(second)/int64(n.spec.Downlink))
	n.w.after(n.downlinkFree-n.w.now, func() {
		content, why := n.upstreamContent()
		if n.dead || rd.cancelled || why != scheduler.FaultNone || d.ended {
			n.readNext(a)
			return
		}
		rd.first++
		n.w.result.Upstream += size
		d.fromUpstream += size
		if !d.proven && d.write(i, content, r) {
			n.step(scheduler.ReadProgressed{Blob: a.Blob, Read: a.Read, Chunk: i})
		}
		n.readNext(a)
	})
}

func (n *node) cancelRead(a scheduler.CancelRead) {
	rd := n.disk(a.Blob).reads[a.Read]
	if rd == nil {
		n.w.fail(n, "cancels read %d, which is over", a.Read)
		return
	}
	rd.cancelled = true
}

func (n *node) audit(a scheduler.AuditChunk) {
	d := n.disk(a.Blob)
	size := d.geometry.Length(a.Chunk)
	wait := n.w.cfg.UpstreamLatency + scheduler.Time(int64(size)*int64(second)/int64(n.spec.Downlink))
	n.w.after(wait, func() {
		content, why := n.upstreamContent()
		if d.ended || d.proven {
			why = scheduler.FaultCancelled
		}
		if why != scheduler.FaultNone {
			n.step(scheduler.ChunkAudited{Blob: a.Blob, Chunk: a.Chunk, Why: why})
			return
		}
		n.w.result.Upstream += size
		d.fromUpstream += size
		n.step(scheduler.ChunkAudited{Blob: a.Blob, Chunk: a.Chunk, Same: d.replace(a.Chunk, content)})
	})
}

func (n *node) checkLink(a scheduler.CheckLink) {
	d := n.disk(a.Blob)
	n.w.after(scheduler.Time(int64(d.geometry.Length(a.Chunk))*int64(second)/hashRate), func() {
		if d.ended || d.proven {
			return
		}
		holds, anchored := d.checkLink(a.Chunk, a.Supplier)
		n.step(scheduler.LinkChecked{Blob: a.Blob, Chunk: a.Chunk, Supplier: a.Supplier, Holds: holds, Verified: anchored})
	})
}

func (n *node) hashPrefix(a scheduler.HashPrefix) {
	d := n.disk(a.Blob)
	g := d.geometry
	took := scheduler.Time(int64(g.Offset(a.Through)+g.Length(a.Through)-g.Offset(a.First)) * int64(second) / hashRate)
	if a.First != 0 && a.First != d.prefix {
		n.w.fail(n, "hashes from chunk %d, the prefix stands at %d", a.First, d.prefix)
	}
	n.w.after(took, func() {
		if d.ended || d.proven {
			return
		}
		verified, mismatch, ok := d.hashPrefix(a.First, a.Through)
		if !ok { // a chunk changed meanwhile
			verified, mismatch = nil, false
		}
		n.step(scheduler.PrefixHashed{Blob: a.Blob, Next: d.prefix, Verified: verified, Mismatch: mismatch})
	})
}

func (n *node) release(a scheduler.Release) {
	d := n.disk(a.Blob)
	n.w.after(scheduler.Time(1000), func() {
		if !d.close() {
			n.step(scheduler.PrefixHashed{Blob: a.Blob, Mismatch: true})
			return
		}
		d.at = n.w.now
		for i := range d.n {
			if d.content[i] != 0 {
				n.w.fail(n, "released wrong bytes")
			}
		}
		n.step(scheduler.BlobProven(a))
	})
}
