package sim

import (
	"slices"

	"github.com/shoal-project/shoal/scheduler"
)

// A crash ends a node. A process that dies is noticed at once, because its machine refuses
// what still comes; a machine that dies only when its silence lasts.
type crash struct{ node *node }

func (e crash) happen(w *world) {
	n := e.node
	n.dead = true
	n.life++
	for _, d := range n.disks {
		if n.spec.Restart <= w.now && !d.proven && !d.ended {
			n.await(-1)
		}
		for _, r := range slices.Clone(d.reads) {
			r.close(w)
		}
		for _, s := range slices.Clone(d.sessions) {
			noticed := w.latency(n, s.far)
			if n.spec.Silent {
				noticed = silence
			}
			s.close()
			w.after(noticed, leaving{s.other, faultOfCut})
		}
	}
	for _, far := range w.nodes {
		far.connected[n.number], n.connected[far.number] = false, false
	}
	noticed := w.cfg.Latency.Far
	if n.spec.Silent {
		noticed = silence
	}
	w.after(noticed, census{})
}

// A restart brings a node back with what its disks hold.
type restart struct{ node *node }

func (e restart) happen(w *world) {
	n := e.node
	n.dead, n.begun = false, false
	n.awake()
	for _, d := range n.disks {
		if d.ended {
			n.await(+1)
		}
		proven := d.proven
		d.reset()
		if d.proven = proven; proven {
			d.fill()
		}
	}
	begin{n, n.life}.happen(w)
	w.after(w.cfg.Latency.Far, census{})
}

// A census tells every node how many members there are.
type census struct{}

func (census) happen(w *world) {
	for _, n := range w.nodes {
		n.count()
	}
}

// A cut begins or ends a partition.
type cut struct {
	partition *Partition
	begins    bool
}

func (e cut) happen(w *world) {
	for _, f := range w.fabric.flows {
		if u, ok := f.cargo.(*upload); ok && e.partition.divides(u.session.node, u.session.far) {
			w.fabric.freeze(w.now, f, e.begins)
		}
	}
	if !e.begins {
		w.after(w.cfg.Latency.Far, census{})
		return
	}
	if e.partition.To-e.partition.From > silence {
		w.after(silence, broken{e.partition})
	}
}

// broken means that connections across a partition are given up.
type broken struct{ partition *Partition }

func (e broken) happen(w *world) {
	for _, n := range w.nodes {
		for _, d := range n.disks {
			for _, s := range slices.Clone(d.sessions) {
				if e.partition.divides(n, s.far) {
					n.connected[s.far.number] = false
					s.left(faultOfCut)
				}
			}
		}
	}
	census{}.happen(w)
}

// divides reports whether one of the nodes is inside and the other is not.
func (p *Partition) divides(a, b *node) bool {
	return slices.Contains(p.Nodes, a.number) != slices.Contains(p.Nodes, b.number)
}

// parted reports whether nothing gets from one node to the other now.
func (w *world) parted(a, b *node) bool {
	_, cut := w.partedUntil(a, b)
	return cut
}

// partedUntil is when something gets from one node to the other again, if nothing does now.
func (w *world) partedUntil(a, b *node) (until scheduler.Time, cut bool) {
	for at := range w.cfg.Partitions {
		p := &w.cfg.Partitions[at]
		if p.From <= w.now && w.now < p.To && p.divides(a, b) {
			until, cut = max(until, p.To), true
		}
	}
	return until, cut
}

// faultOfCut is what the end of a connection without a word means.
const faultOfCut = scheduler.FaultTransient
