package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// ErrInvariant is wrapped by the error of a run in which a Machine did what none may.
var ErrInvariant = errors.New("invariant broken")

// A happening is what the world does at a point in time.
type happening interface{ happen(w *world) }

// An item is a happening in the queue. Those of one time happen in the order in which they
// were queued.
type item struct {
	at   scheduler.Time
	seq  uint64
	what happening
}

func (i item) less(o item) bool { return i.at < o.at || i.at == o.at && i.seq < o.seq }

// A world is the state of a run.
type world struct {
	cfg      Config
	random   *rand.Rand
	now      scheduler.Time
	queue    heap[item]
	queued   uint64
	fabric   fabric
	registry registry
	nodes    []*node
	byID     map[scheduler.PeerID]*node
	blobs    []layer
	byDigest map[blob.Digest]int
	dht      dht
	limits   limits
	waiting  int // downloads that have not ended, of nodes that live or will again
	trace    trace
	events   int
	err      error
}

// A layer is one blob of the run.
type layer struct {
	digest, image blob.Digest
	geometry      blob.Geometry
	forged        *chain // the liars' chain, once one of them made it
}

// after has something happen in a while.
func (w *world) after(d scheduler.Time, what happening) {
	w.queued++
	w.queue.push(item{w.now + d, w.queued, what})
}

// fail ends the run: a Machine did what none may.
func (w *world) fail(n *node, format string, args ...any) {
	if w.err != nil || n.spec.Lies != 0 {
		return
	}
	w.err = fmt.Errorf("%w: seed %d, at %v, %s: %s", ErrInvariant, w.cfg.Seed, seconds(w.now), n.id, fmt.Sprintf(format, args...))
	if w.cfg.Replay != "" {
		w.err = fmt.Errorf("%w\nplay it again: %s", w.err, w.cfg.Replay)
	}
}

// A seconds is a time as people and errors read it.
type seconds scheduler.Time

func (s seconds) String() string { return fmt.Sprintf("%.6fs", float64(s)/float64(second)) }

// Run plays one configuration to its end: every living node is done, or time is up. An
// error wraps ErrInvariant; the Result then tells how far the run came.
func Run(cfg Config) (Result, error) {
	w := newWorld(cfg.withDefaults())
	if w.play() {
		w.checkEnd()
	}
	return w.collect(), w.err
}

func newWorld(cfg Config) *world {
	w := &world{
		cfg: cfg, random: rand.New(rand.NewPCG(cfg.Seed, 1)),
		byID: map[scheduler.PeerID]*node{}, byDigest: map[blob.Digest]int{},
		fabric: fabric{step: cfg.RateStep, fillAt: never}, dht: dht{}, limits: limitsOf(cfg.Scheduler),
	}
	w.registry.out = &link{rate: int64(cfg.Upstream.Rate)}
	for k, sizes := range cfg.Images {
		for _, size := range sizes {
			w.addLayer(k, size)
		}
	}
	for i, spec := range cfg.Nodes {
		w.addNode(i, spec)
	}
	for at := range cfg.Partitions {
		p := &cfg.Partitions[at]
		w.after(p.From, cut{p, true})
		w.after(p.To, cut{p, false})
	}
	w.registry.scheduleOutages(w)
	if cfg.Watch != nil {
		w.after(0, look{})
	}
	return w
}

// addLayer gives a layer its digest. Digests differ from seed to seed, and duties with them.
func (w *world) addLayer(image int, size blob.ByteCount) {
	g, err := blob.NewGeometry(size)
	if err != nil {
		panic(err) // the configuration is the caller's own
	}
	d := blob.Digest{byte(len(w.blobs)), byte(len(w.blobs) >> 8), 1}
	for i := 3; i < len(d); i++ {
		d[i] = byte(w.random.Uint32())
	}
	w.byDigest[d] = len(w.blobs)
	w.blobs = append(w.blobs, layer{digest: d, image: blob.Digest{byte(image), byte(image >> 8), 2}, geometry: g})
}

// progressEvery is how many events pass between two reports of progress.
const progressEvery = 1 << 16

// play plays until all is done or time is up. It returns false if Progress stopped it before.
func (w *world) play() bool {
	for w.err == nil && w.waiting > 0 {
		at, inFabric := w.fabric.next(), true
		if w.queue.len() > 0 && w.queue.items[0].at <= at {
			at, inFabric = w.queue.items[0].at, false
		}
		if at > w.cfg.Limit {
			break
		}
		w.now = at
		if inFabric {
			w.fabric.advance(w, at)
		} else {
			w.queue.pop().what.happen(w)
		}
		w.events++
		if w.cfg.Progress != nil && w.events%progressEvery == 0 && !w.cfg.Progress(w.progress()) {
			return false
		}
	}
	return true
}

// latency is how long a message takes from one node to the other.
func (w *world) latency(a, b *node) scheduler.Time {
	if a.spec.Zone == b.spec.Zone {
		return w.cfg.Latency.Near
	}
	return w.cfg.Latency.Far
}
