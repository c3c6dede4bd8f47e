package sim

import (
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

type state uint8

const (
	absent state = iota
	q
	r
	v
)

// A disk is one blob in the model of the verified store. It knows what is right, and
// uses that only where the real store hashes.
type disk struct {
	blob     blob.Digest
	geometry blob.Geometry
	n        blob.ChunkIndex
	state    []state
	content  []int // 0: right
	links    []bool
	anchor   blob.ChunkIndex // links from here to the end hold
	prefix   blob.ChunkIndex
	prefixOK bool
	chains   map[scheduler.PeerID]map[blob.ChunkIndex]bool // by supplier: states that are wrong

	wanted, proven, ended   bool
	why                     scheduler.Fault
	at                      scheduler.Time
	fromUpstream, fromPeers blob.ByteCount

	asked map[blob.ChunkIndex]scheduler.PeerID
	reads map[scheduler.ReadID]*reading
}

type reading struct {
	first, end blob.ChunkIndex
	cancelled  bool
}

func newDisk(d blob.Digest, size blob.ByteCount) *disk {
	g, err := blob.NewGeometry(size)
	if err != nil {
		panic(err) // the configuration is the caller's own
	}
	n := g.Chunks()
	return &disk{
		blob: d, geometry: g, n: n, state: make([]state, n), content: make([]int, n), links: make([]bool, n),
		anchor: n, prefixOK: true, chains: map[scheduler.PeerID]map[blob.ChunkIndex]bool{},
		asked: map[blob.ChunkIndex]scheduler.PeerID{}, reads: map[scheduler.ReadID]*reading{},
	}
}

// write stores a chunk unless it is there.
func (d *disk) write(i blob.ChunkIndex, content int, as state) bool {
	if d.state[i] != absent {
		return false
	}
	d.state[i], d.content[i] = as, content
	return true
}

func (d *disk) servable(i blob.ChunkIndex) bool {
	return d.proven || d.state[i] == r || d.state[i] == v
}

// changed forgets what was hashed of a chunk.
func (d *disk) changed(i blob.ChunkIndex) {
	d.links[i] = false
	if i >= d.anchor {
		d.anchor = i + 1
	}
	if i < d.prefix {
		d.prefix, d.prefixOK = 0, true
	}
}

func (d *disk) drop(i blob.ChunkIndex) {
	d.state[i] = absent
	d.changed(i)
}

func (d *disk) dropLinks() {
	for i := range d.anchor {
		d.links[i] = false
	}
}

// replace puts the registry's bytes in the place of a chunk.
func (d *disk) replace(i blob.ChunkIndex, content int) (same bool) {
	same = d.state[i] != absent && d.content[i] == content
	if !same {
		d.changed(i)
	}
	d.content[i] = content
	if d.state[i] != v {
		d.state[i] = r
	}
	return same
}

// checkLink says whether a link holds under a supplier's chain, and what it anchored.
func (d *disk) checkLink(i blob.ChunkIndex, supplier scheduler.PeerID) (holds bool, anchored []blob.ChunkIndex) {
	bad, known := d.chains[supplier]
	if !known || d.state[i] == absent || d.content[i] != 0 || bad[i] || bad[i+1] {
		return false, nil
	}
	d.links[i] = true
	return true, d.advance()
}

// advance moves the anchor down over links that hold.
func (d *disk) advance() (anchored []blob.ChunkIndex) {
	for d.anchor > 0 && d.links[d.anchor-1] {
		d.anchor--
		anchored = append(anchored, d.anchor)
		if d.state[d.anchor] == q {
			d.state[d.anchor] = v
		}
	}
	return anchored
}

// hashPrefix goes on from first. It returns false for a place where the prefix does not stand.
func (d *disk) hashPrefix(first, through blob.ChunkIndex) (verified []blob.ChunkIndex, mismatch, ok bool) {
	if first == 0 {
		d.prefix, d.prefixOK = 0, true
	}
	if first != d.prefix {
		return nil, false, false
	}
	for i := first; i <= through && d.state[i] != absent; i++ {
		d.prefixOK = d.prefixOK && d.content[i] == 0
		d.links[i] = d.links[i] || d.prefixOK
		d.prefix = i + 1
	}
	if d.prefix < d.n {
		return d.advance(), false, true
	}
	return d.advance(), !d.prefixOK, true
}

// close proves the blob if every link is there.
func (d *disk) close() bool {
	for i := range d.n {
		if !d.links[i] || d.state[i] == absent {
			return false
		}
	}
	d.proven = true
	return true
}

func (d *disk) fill() {
	for i := range d.n {
		d.state[i], d.links[i] = v, true
	}
	d.anchor, d.prefix, d.proven, d.wanted = 0, d.n, true, true
}
