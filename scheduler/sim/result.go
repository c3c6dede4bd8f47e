package sim

import (
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// An Outcome is what became of one blob at one node.
type Outcome struct {
	Node                    scheduler.PeerID
	Blob                    blob.Digest
	Start                   scheduler.Time // when the node began to want it
	Proven                  bool
	Ended                   bool // abandoned
	Crashed                 bool // the node is dead in the end
	Why                     scheduler.Fault
	At                      scheduler.Time // when it was proven or abandoned
	FirstByte               scheduler.Time // when a client got something before the proof; 0: it did not
	FromRegistry, FromPeers blob.ByteCount
}

// A Result is what a run came to.
type Result struct {
	Outcomes []Outcome      // by node, then blob
	Upstream blob.ByteCount // bytes that the registry sent, whether anybody kept them or not
	Total    blob.ByteCount // size of all images
	At       scheduler.Time // when the last node was done
	Events   int
	Trace    uint64 // a hash over every action and its time
	// Quarantined counts quarantines by who was refused.
	Quarantined map[scheduler.PeerID]int
	// Wrong counts wrong chunks that honest nodes took, by who sent them.
	Wrong map[scheduler.PeerID]int
}

// Reads is how many times over the images were read from upstream.
func (r Result) Reads() float64 { return float64(r.Upstream) / float64(r.Total) }

func (w *world) collect() Result {
	r := Result{
		Upstream: w.registry.sent, Events: w.events, Trace: uint64(w.trace),
		Quarantined: map[scheduler.PeerID]int{}, Wrong: map[scheduler.PeerID]int{},
	}
	for _, l := range w.blobs {
		r.Total += l.geometry.Size()
	}
	for _, n := range w.nodes {
		if n.sentences > 0 {
			r.Quarantined[n.id] = n.sentences
		}
		if n.wrong > 0 {
			r.Wrong[n.id] = n.wrong
		}
		for _, d := range n.disks {
			for _, x := range d.reads { // still under way
				if x.flow != nil {
					r.Upstream += x.flow.sent(w.now)
				}
			}
			r.Outcomes = append(r.Outcomes, Outcome{
				Node: n.id, Blob: d.digest(), Start: n.spec.Start, Proven: d.proven, Ended: d.ended, Crashed: n.dead,
				Why: d.why, At: d.at, FirstByte: d.client.first, FromRegistry: d.fromRegistry, FromPeers: d.fromPeers,
			})
			r.At = max(r.At, d.at)
		}
	}
	return r
}

// Never is the time of a node that ended without its blobs.
const Never = never

// Times is how long each node took from its start to its last blob, ascending, of the nodes
// that keep says; a node without all of its blobs took Never.
func (c Config) Times(r Result, keep func(Node) bool) []scheduler.Time {
	var times []scheduler.Time
	blobs := len(r.Outcomes) / max(1, len(c.Nodes))
	for i, n := range c.Nodes {
		if !keep(n) {
			continue
		}
		var took scheduler.Time
		for _, o := range r.Outcomes[i*blobs : (i+1)*blobs] {
			if !o.Proven {
				took = Never
			}
			if took != Never {
				took = max(took, o.At-n.Start)
			}
		}
		times = append(times, took)
	}
	slices.Sort(times)
	return times
}

// Bound is the least time in which every node of a run can have everything: no swarm is
// faster than the registry's link for one copy, a node's link for its own, all links
// together for everybody's, and one core for the hash.
func (c Config) Bound() scheduler.Time {
	c = c.withDefaults()
	var size, ups, down blob.ByteCount
	for _, sizes := range c.Images {
		for _, s := range sizes {
			size += s
		}
	}
	wanting := 0
	held := false
	for _, n := range c.Nodes {
		ups += n.Up
		held = held || n.Held
		if !n.Held {
			wanting++
			down = max(down, n.Down)
		}
	}
	over := func(bytes, rate blob.ByteCount) float64 { return float64(bytes) / float64(max(1, rate)) }
	bound := max(over(size, down), over(size*blob.ByteCount(wanting), c.Upstream.Rate+ups))
	if !held {
		bound = max(bound, over(size, c.Upstream.Rate))
	}
	return scheduler.Time((bound + over(size, c.HashRate)) * float64(second))
}
