package sim

import (
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// A job is work for one core of a node.
type job interface {
	bytes() blob.ByteCount // that it hashes, as far as is known when it begins
	done()
}

// Cores run jobs in the order in which they came, each on one core.
type cores struct {
	free  int
	queue []job
}

// onCore runs a job when a core is free.
func (n *node) onCore(j job) {
	n.cores.queue = append(n.cores.queue, j)
	n.startJobs()
}

func (n *node) startJobs() {
	for n.cores.free > 0 && len(n.cores.queue) > 0 {
		j := n.cores.queue[0]
		n.cores.queue = n.cores.queue[1:]
		n.cores.free--
		took := scheduler.Time(int64(j.bytes()) * int64(second) / int64(n.w.cfg.HashRate))
		n.w.after(took, worked{n, n.life, j})
	}
}

// worked means that a core is done with a job.
type worked struct {
	node *node
	life int
	job  job
}

func (j worked) happen(*world) {
	if j.node.life != j.life {
		return
	}
	j.node.cores.free++
	j.job.done()
	j.node.startJobs()
}

// A linkCheck checks one link under the chain of a supplier.
type linkCheck struct {
	disk *disk
	scheduler.CheckLink
}

func (c linkCheck) bytes() blob.ByteCount {
	supplied := c.disk.claim(c.Supplier)
	if supplied == nil {
		return 0
	}
	if _, known := c.disk.from(c.Chunk, supplied.at(c.Chunk)); known {
		return 0
	}
	return c.disk.length(c.Chunk)
}

func (c linkCheck) done() {
	d := c.disk
	d.checks--
	if !d.downloading() {
		return
	}
	ev := scheduler.LinkChecked{Blob: c.Blob, Chunk: c.Chunk, Supplier: c.Supplier}
	if supplied := d.claim(c.Supplier); supplied != nil {
		ev.Holds, ev.Verified = d.checkLink(c.Chunk, supplied)
	}
	d.node.step(ev)
}

// A prefixHash hashes stored chunks in a row.
type prefixHash struct {
	disk *disk
	scheduler.HashPrefix
}

func (h prefixHash) bytes() blob.ByteCount { return h.disk.toHash(h.Through) }

func (h prefixHash) done() {
	d := h.disk
	if !d.downloading() {
		return
	}
	verified, mismatch := d.hashPrefix(h.Through)
	d.node.step(scheduler.PrefixHashed{Blob: h.Blob, Next: d.next(), Verified: verified, Mismatch: mismatch})
}

// A proof closes the chain from IV to digest.
type proof struct{ disk *disk }

func (proof) bytes() blob.ByteCount { return 0 }

func (p proof) done() {
	d := p.disk
	if !d.downloading() {
		return
	}
	d.releasing = false
	if !d.complete() {
		d.node.step(scheduler.PrefixHashed{Blob: d.digest(), Mismatch: true})
		return
	}
	d.prove()
	d.node.step(scheduler.BlobProven{Blob: d.digest()})
}
