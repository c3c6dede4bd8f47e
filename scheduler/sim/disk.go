package sim

import (
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// An origin says from where the bytes of a chunk came.
type origin uint8

const (
	absent origin = iota
	fromPeer
	fromRegistry
)

// A content stands for the bytes of a chunk. Zero are the right ones.
type content int64

// A value stands for a chaining value. Zero is the right one, at every boundary: the IV
// before the first chunk, the digest after the last.
type value uint64

// after is the chaining value that chunk i with these bytes leads to. Right bytes lead from
// the right value to the right one; anything else to one that nobody meets by accident.
func after(i blob.ChunkIndex, before value, c content) value {
	if before == 0 && c == 0 {
		return 0
	}
	return value(mix(mix(mix(1, uint64(before)), uint64(c)), uint64(i))) | 1
}

// A cell is what a disk knows of one chunk.
type cell struct {
	origin   origin
	verified bool // its bytes link two values of the suffix
	content  content
	links    []hop // that hold over these bytes, besides those in prefix and suffix
}

// A hop says that a chunk's bytes lead from one value to the other.
type hop struct{ before, after value }

// maxHops bounds the links kept for one chunk besides those in prefix and suffix, as the store does.
const maxHops = 4

// A disk is one blob at one node, in the model of the verified store (pkg/store). It knows
// what is right, and uses that only where the store hashes.
type disk struct {
	node  *node
	layer *layer
	blob  int // index of the layer
	n     blob.ChunkIndex

	cells    []cell
	servable blob.Bitset // R or V
	read     blob.Bitset // chunks whose bytes the node's own reads brought, by the book of the reads
	prefix   []value
	suffix   []value
	anchor   blob.ChunkIndex
	claims   map[int]*chain // by the supplier's number
	refuted  map[int]bool

	wanted                  bool // a download is under way, or the blob is held
	releasing               bool
	proven                  bool
	ended                   bool // abandoned
	why                     scheduler.Fault
	at                      scheduler.Time // when it was proven or abandoned
	whole                   bool           // the engine noticed that the registry ignores Range
	fromRegistry, fromPeers blob.ByteCount

	sessions []*session // by the far node's number
	heard    int        // sessions that the Machine was told of
	asked    []int32    // by chunk: the number of the node that it is asked of, plus one
	asks     int        // chunks asked of peers
	reads    []*reading
	audits   int
	checks   int // of links, under way
	client   client
	ground   []scheduler.PeerID // of a liar: see groundNames
}

func newDisk(n *node, k int) *disk {
	l := &n.w.blobs[k]
	d := &disk{node: n, layer: l, blob: k, n: l.geometry.Chunks()}
	d.cells, d.read = make([]cell, d.n), blob.NewBitset(d.n)
	d.reset()
	return d
}

// reset forgets what only lives in memory: a new life begins with the bytes alone.
func (d *disk) reset() {
	d.servable = blob.NewBitset(d.n)
	d.prefix, d.suffix, d.anchor = []value{0}, make([]value, d.n+1), d.n
	d.claims, d.refuted = map[int]*chain{}, map[int]bool{}
	d.sessions, d.reads = nil, nil
	d.heard, d.asks, d.audits, d.checks = 0, 0, 0, 0
	d.asked = make([]int32, d.n)
	d.releasing, d.ended, d.whole, d.wanted = false, false, false, false
	for i := range d.cells {
		c := &d.cells[i]
		c.verified, c.links = false, nil
		if c.origin == fromRegistry {
			d.servable.Add(blob.ChunkIndex(i))
		}
	}
}

// write stores a chunk unless it is there.
func (d *disk) write(i blob.ChunkIndex, c content, from origin) bool {
	if d.cells[i].origin != absent {
		return false
	}
	d.cells[i].origin, d.cells[i].content = from, c
	if from == fromRegistry {
		d.servable.Add(i)
	}
	return true
}

// lose forgets a chunk and every link over it. Who is being sent it sees the session end.
func (d *disk) lose(i blob.ChunkIndex) {
	if d.cells[i].origin == absent {
		return
	}
	d.cells[i] = cell{}
	d.servable.Remove(i)
	d.read.Remove(i)
	d.prefix = d.prefix[:min(len(d.prefix), int(i)+1)]
	for _, s := range d.sessions {
		if s.sending != nil && s.sending.chunk == i && d.node.spec.Lies == 0 {
			d.node.w.after(0, torn{s.sending})
		}
	}
}

// replace puts the registry's bytes in the place of a chunk and reports whether it had them.
func (d *disk) replace(i blob.ChunkIndex, c content) (same bool) {
	same = d.cells[i].origin != absent && d.cells[i].content == c
	if same {
		d.cells[i].origin = fromRegistry
		d.servable.Add(i)
		return true
	}
	d.lose(i)
	d.write(i, c, fromRegistry)
	return false
}

// fill makes the blob held and proven.
func (d *disk) fill() {
	for i := range d.cells {
		d.cells[i] = cell{origin: fromPeer, verified: true}
		d.prefix = append(d.prefix, 0)
	}
	d.servable, d.anchor = blob.FullBitset(d.n), 0
	d.proven, d.wanted = true, true
}

// live reports whether a download is under way or the blob is served.
func (d *disk) live() bool { return d.wanted && !d.ended }

// downloading reports whether a download is under way.
func (d *disk) downloading() bool { return d.live() && !d.proven }

func (d *disk) digest() blob.Digest { return d.layer.digest }

func (d *disk) length(i blob.ChunkIndex) blob.ByteCount { return d.layer.geometry.Length(i) }
