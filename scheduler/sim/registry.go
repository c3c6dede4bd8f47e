package sim

import (
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// The registry counts what it sends, whoever reads it in the end.
type registry struct {
	out  *link
	sent blob.ByteCount
	down bool // an outage
}

// inFlight is what a registry has in its socket's buffer, at least, when a read is ended.
const inFlight = 64 * blob.KiB

// A reading is one answer of the registry on its way: of a read, or of an audit.
type reading struct {
	disk      *disk
	life      int
	id        scheduler.ReadID // of a read
	audit     bool
	next, end blob.ChunkIndex
	skip      blob.ByteCount // comes first, because the registry ignores Range
	flow      *flow          // nil until the first byte
	over      bool
}

// readUpstream asks the registry for the chunks of a read.
func (n *node) readUpstream(a scheduler.ReadUpstream) {
	d := n.disk(a.Blob)
	if n.checkRead(d, a); n.w.err != nil {
		return
	}
	r := &reading{disk: d, life: n.life, id: a.Read, next: a.First, end: a.First + a.Count}
	d.reads = append(d.reads, r)
	n.w.after(n.w.cfg.Upstream.FirstByte, answered{r})
}

// auditChunk asks the registry for one chunk, to be compared.
func (n *node) auditChunk(a scheduler.AuditChunk) {
	d := n.disk(a.Blob)
	if n.checkAudit(d, a); n.w.err != nil {
		return
	}
	r := &reading{disk: d, life: n.life, audit: true, next: a.Chunk, end: a.Chunk + 1}
	d.reads = append(d.reads, r)
	d.audits++
	n.w.after(n.w.cfg.Upstream.FirstByte, answered{r})
}

// readHead asks the registry for the first bytes of a blob, which are too few to hold anybody up.
func (n *node) readHead(a scheduler.ReadHead) {
	d := n.disk(a.Blob)
	n.checkWork(d, "reads the head")
	why := n.upstreamFault()
	if why == scheduler.FaultNone {
		n.w.registry.sent += a.Length
		d.fromRegistry += a.Length
	}
	n.w.after(n.w.cfg.Upstream.FirstByte, report{n, n.life, scheduler.HeadRead{Blob: a.Blob, Why: why}})
}

// answered means that the registry's headers came.
type answered struct{ r *reading }

func (a answered) happen(w *world) {
	r, d := a.r, a.r.disk
	n := d.node
	if r.over {
		return
	}
	if why := n.upstreamFault(); why != scheduler.FaultNone {
		r.finish(w, why)
		return
	}
	part := r.next > 0 || r.end < d.n
	links := []*link{w.registry.out, &n.down}
	if limit := w.cfg.Upstream.PerConnection; limit > 0 {
		links = append(links, &link{rate: int64(limit)})
	}
	first := d.length(r.next)
	if part && w.cfg.Upstream.NoRange && r.next > 0 {
		r.skip = d.layer.geometry.Offset(r.next)
		first = min(r.skip, maxPiece)
	}
	r.flow = w.fabric.start(w.now, r, first, links...)
	if part && w.cfg.Upstream.NoRange && !d.whole && d.downloading() {
		d.whole = true
		n.step(scheduler.UpstreamWhole{Blob: d.digest()})
	}
}

// crossed takes a chunk that has come, or a part of what comes before it.
func (r *reading) crossed(w *world, f *flow) {
	d := r.disk
	w.registry.sent += f.piece
	if r.skip > 0 {
		r.skip -= f.piece
		if r.skip > 0 {
			w.fabric.more(w.now, f, min(r.skip, maxPiece))
		} else {
			w.fabric.more(w.now, f, d.length(r.next))
		}
		return
	}
	d.fromRegistry += f.piece
	if r.audit {
		r.finish(w, scheduler.FaultNone)
		return
	}
	i := r.next
	r.next++
	if r.next < r.end { // the flow goes on while the Machine looks at the chunk
		w.fabric.more(w.now, f, d.length(r.next))
	}
	d.node.checkReadBytes(d, r)
	if d.write(i, d.node.upstreamContent(), fromRegistry) {
		d.read.Add(i)
		d.client.advance(d)
		d.node.step(scheduler.ReadProgressed{Blob: d.digest(), Read: r.id, Chunk: i})
	}
	if r.next == r.end {
		r.finish(w, scheduler.FaultNone)
	}
}

// finish ends a reading and reports it. What the registry has sent of the present piece
// counts, and what was on its way.
func (r *reading) finish(w *world, why scheduler.Fault) {
	if r.over {
		return
	}
	d := r.disk
	r.close(w)
	if !d.downloading() || d.node.life != r.life {
		return
	}
	switch {
	case !r.audit:
		d.node.step(scheduler.ReadEnded{Blob: d.digest(), Read: r.id, Why: why})
	case why != scheduler.FaultNone:
		d.node.step(scheduler.ChunkAudited{Blob: d.digest(), Chunk: r.next, Why: why})
	default:
		same := d.replace(r.next, d.node.upstreamContent())
		d.read.Add(r.next)
		d.client.audited(d, r.next, same)
		d.node.step(scheduler.ChunkAudited{Blob: d.digest(), Chunk: r.next, Same: same})
	}
}

// close ends the flow of a reading and forgets it.
func (r *reading) close(w *world) {
	d := r.disk
	r.over = true
	if r.flow != nil {
		if r.flow.index >= 0 && r.flow.left > 0 {
			w.registry.sent += r.cutShort(w)
		}
		w.fabric.stop(w.now, r.flow)
	}
	if at := slices.Index(d.reads, r); at >= 0 {
		d.reads = slices.Delete(d.reads, at, at+1)
		if r.audit {
			d.audits--
		}
	}
}

// cutShort is what the registry sent of a piece that did not cross in whole: the part that
// did, and what was in its buffer or on the wire.
func (r *reading) cutShort(w *world) blob.ByteCount {
	g := r.disk.layer.geometry
	sent := r.flow.sent(w.now)
	onWire := max(inFlight, blob.ByteCount(r.flow.rate*int64(2*w.cfg.Latency.Far)/int64(second)))
	rest := r.flow.piece - sent
	if r.skip == 0 {
		rest += g.Offset(r.end) - g.Offset(r.next+1)
	}
	if r.skip > 0 || w.cfg.Upstream.NoRange {
		rest = g.Size()
	}
	return sent + min(onWire, rest)
}

// cancelRead ends a read early. What was on its way is thrown away.
func (n *node) cancelRead(a scheduler.CancelRead) {
	d := n.disk(a.Blob)
	at := slices.IndexFunc(d.reads, func(r *reading) bool { return !r.audit && r.id == a.Read })
	if at < 0 {
		n.w.fail(n, "cancels read %d, which is over", a.Read)
		return
	}
	d.reads[at].close(n.w)
	n.soon(scheduler.ReadEnded{Blob: a.Blob, Read: a.Read, Why: scheduler.FaultCancelled})
}

// upstreamFault is why the registry does not serve the node now, if it does not.
func (n *node) upstreamFault() scheduler.Fault {
	switch {
	case n.spec.Registry == RegistryRefuses:
		return scheduler.FaultUnauthorized
	case n.spec.Registry == RegistryUnknown:
		return scheduler.FaultGone
	case n.w.registry.down, n.w.now >= n.spec.Outage[0] && n.w.now < n.spec.Outage[1]:
		return scheduler.FaultTransient
	}
	return scheduler.FaultNone
}

// upstreamContent is what the registry serves the node.
func (n *node) upstreamContent() content {
	if n.spec.Registry == RegistryLies {
		return -1
	}
	return 0
}

// An outage begins or ends, for one node or for all.
type outage struct {
	node *node // nil: for all
	down bool
}

func (o outage) happen(w *world) {
	if o.node == nil {
		w.registry.down = o.down
	}
	if !o.down {
		return
	}
	for _, n := range w.nodes {
		if o.node != nil && o.node != n {
			continue
		}
		for _, d := range n.disks {
			for _, r := range slices.Clone(d.reads) {
				if r.flow != nil {
					r.finish(w, scheduler.FaultTransient)
				}
			}
		}
	}
}

func (r *registry) scheduleOutages(w *world) {
	plan := func(n *node, from, to scheduler.Time) {
		if to > from {
			w.after(from, outage{n, true})
			w.after(to, outage{n, false})
		}
	}
	plan(nil, w.cfg.Upstream.Outage[0], w.cfg.Upstream.Outage[1])
	for _, n := range w.nodes {
		plan(n, n.spec.Outage[0], n.spec.Outage[1])
	}
}
