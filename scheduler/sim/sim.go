package sim

import (
	"container/heap"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// ErrInvariant is wrapped by the error of a run in which a Machine did what none may.
var ErrInvariant = errors.New("invariant broken")

// An Outcome is what became of one blob at one node.
type Outcome struct {
	Node                scheduler.PeerID
	Blob                blob.Digest
	Proven              bool
	Ended               bool // abandoned
	Why                 scheduler.Fault
	At                  scheduler.Time // when it was proven or abandoned
	FromUpstream, Peers blob.ByteCount
}

// A Result is what a run came to.
type Result struct {
	Outcomes []Outcome // by node, then blob
	Upstream blob.ByteCount
	Total    blob.ByteCount // size of the image
	At       scheduler.Time // when the last node was done
	Events   int
	Trace    uint64 // a hash over every action and its time
	// Quarantined counts quarantines by who was refused.
	Quarantined map[scheduler.PeerID]int
}

// Reads is how many times over the image was read from upstream.
func (r Result) Reads() float64 { return float64(r.Upstream) / float64(r.Total) }

// A world is the state of a run.
type world struct {
	cfg     Config
	random  *rand.Rand
	now     scheduler.Time
	queue   queue
	seq     int
	nodes   []*node
	byID    map[scheduler.PeerID]*node
	records map[blob.Digest][]record
	result  Result
	err     error
}

// A record is an announcement in the DHT.
type record struct {
	node    *node
	visible scheduler.Time
}

type item struct {
	at  scheduler.Time
	seq int
	do  func()
}

type queue []item

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any) {
	if it, ok := x.(item); ok {
		*q = append(*q, it)
	}
}

func (q *queue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}

// after has do happen in a while.
func (w *world) after(d scheduler.Time, do func()) {
	w.seq++
	heap.Push(&w.queue, item{w.now + d, w.seq, do})
}

func (w *world) fail(n *node, format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf("%w: seed %d, at %v, node %s: %s", ErrInvariant, w.cfg.Seed, w.now, n.id, fmt.Sprintf(format, args...))
	}
}

// Run plays one configuration to its end: every living node is done, or time is up.
func Run(cfg Config) (Result, error) {
	cfg = cfg.withDefaults()
	w := &world{
		cfg: cfg, random: rand.New(rand.NewPCG(cfg.Seed, 1)),
		byID: map[scheduler.PeerID]*node{}, records: map[blob.Digest][]record{},
		result: Result{Quarantined: map[scheduler.PeerID]int{}},
	}
	for i, spec := range cfg.Nodes {
		w.addNode(i, spec.withDefaults())
	}
	for _, size := range cfg.Blobs {
		w.result.Total += size
	}
	for w.err == nil && len(w.queue) > 0 && !w.done() {
		it, ok := heap.Pop(&w.queue).(item)
		if !ok || it.at > cfg.Limit {
			break
		}
		w.now = it.at
		w.result.Events++
		it.do()
	}
	w.collect()
	return w.result, w.err
}

func (w *world) collect() {
	for _, n := range w.nodes {
		for _, d := range n.disks {
			w.result.Outcomes = append(w.result.Outcomes, Outcome{
				Node: n.id, Blob: d.blob, Proven: d.proven, Ended: d.ended, Why: d.why, At: d.at,
				FromUpstream: d.fromUpstream, Peers: d.fromPeers,
			})
			w.result.At = max(w.result.At, d.at)
		}
	}
}

// done reports whether every living node has every blob, or gave it up.
func (w *world) done() bool {
	for _, n := range w.nodes {
		if n.dead {
			continue
		}
		for _, d := range n.disks {
			if !d.proven && !d.ended {
				return false
			}
		}
	}
	return true
}

// traced notes an action in the trace.
func (w *world) traced(n *node, a scheduler.Action) {
	line := fmt.Sprintf("%v %s %T%+v", w.now, n.id, a, a)
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%d %s", w.result.Trace, line) // a hash never fails to write
	w.result.Trace = h.Sum64()
	if w.cfg.Trace != nil {
		w.cfg.Trace(line)
	}
}

// Image is the key that all blobs of a run share.
func Image() blob.Digest { return blob.Digest{0xff} }

func digest(i int) blob.Digest { return blob.Digest{byte(i + 1)} }
