package sim

import (
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// Progress tells how far a run has come.
type Progress struct {
	Now     scheduler.Time
	Events  int
	Waiting int // downloads that have not ended
}

func (w *world) progress() Progress {
	return Progress{Now: w.now, Events: w.events, Waiting: w.waiting}
}

// A Moment shows where the bytes are, and how fast they move: where a policy loses time.
type Moment struct {
	Now      scheduler.Time
	Upstream blob.ByteCount // bytes a second out of the registry
	Peers    blob.ByteCount // bytes a second from peer to peer, in all
	Idle     int            // living nodes that want something and get nothing
	// Of the nodes that want something, in the order of what they have: parts of everything that are there.
	Least, Median, Most float64
	Servable            float64 // part that is R or V, on average
	Proven              int     // nodes with everything
}

// A look takes the next Moment.
type look struct{}

func (look) happen(w *world) {
	w.cfg.Watch(w.moment())
	w.after(w.cfg.WatchEvery, look{})
}

func (w *world) moment() Moment {
	m := Moment{Now: w.now, Upstream: blob.ByteCount(w.registry.out.used)}
	var total blob.ChunkIndex
	for _, l := range w.blobs {
		total += l.geometry.Chunks()
	}
	var have []float64
	for _, n := range w.nodes {
		m.Peers += blob.ByteCount(n.up.used)
		if n.dead || !n.begun || n.spec.Held || n.spec.Lies != 0 {
			continue
		}
		here, servable, proven := n.holds()
		have = append(have, float64(here)/float64(total))
		m.Servable += float64(servable) / float64(total)
		switch {
		case proven:
			m.Proven++
		case n.down.used == 0:
			m.Idle++
		}
	}
	if len(have) > 0 {
		slices.Sort(have)
		m.Least, m.Median, m.Most = have[0], have[len(have)/2], have[len(have)-1]
		m.Servable /= float64(len(have))
	}
	return m
}

// holds counts the chunks of all blobs at a node.
func (n *node) holds() (here, servable blob.ChunkIndex, proven bool) {
	proven = true
	for _, d := range n.disks {
		proven = proven && d.proven
		servable += d.servable.Count()
		for i := range d.cells {
			if d.cells[i].origin != absent {
				here++
			}
		}
	}
	return here, servable, proven
}
