package sim

import (
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A chain is what a peer claims the chaining values to be, by boundary; nil values are the
// right ones. The first and the last are the receiver's own, and right.
type chain struct{ values []value }

func (c *chain) at(i blob.ChunkIndex) value {
	if c.values == nil {
		return 0
	}
	return c.values[i]
}

// checkLink says whether the link of chunk i holds under a chain, and what that proved.
func (d *disk) checkLink(i blob.ChunkIndex, c *chain) (holds bool, verified []blob.ChunkIndex) {
	x := &d.cells[i]
	if x.origin == absent || after(i, c.at(i), x.content) != c.at(i+1) {
		return false, nil
	}
	d.record(i, hop{c.at(i), c.at(i + 1)})
	return true, d.settle(i)
}

// record keeps a link that holds.
func (d *disk) record(i blob.ChunkIndex, h hop) {
	x := &d.cells[i]
	if slices.Contains(x.links, h) {
		return
	}
	if len(x.links) == maxHops {
		x.links = slices.Delete(x.links, 0, 1)
	}
	x.links = append(x.links, h)
}

// next is the first chunk that the prefix does not cover.
func (d *disk) next() blob.ChunkIndex { return blob.ChunkIndex(len(d.prefix) - 1) }

// complete reports whether the bytes hash to the digest.
func (d *disk) complete() bool { return d.next() == d.n && d.prefix[d.n] == 0 }

// hashPrefix goes on to chunk through, from where the prefix stands.
func (d *disk) hashPrefix(through blob.ChunkIndex) (verified []blob.ChunkIndex, mismatch bool) {
	for k := d.next(); k <= through && d.cells[k].origin != absent; k = d.next() {
		before := d.prefix[k]
		d.prefix = append(d.prefix, after(k, before, d.cells[k].content))
		verified = append(verified, d.settle(k)...)
	}
	switch {
	case d.next() < d.n:
		slices.Sort(verified)
		return verified, false
	case d.complete():
		return slices.Collect(blob.FullBitset(d.n).All()), false
	default:
		slices.Sort(verified)
		return verified, true
	}
}

// toHash is how many bytes hashPrefix would hash: what is known is not hashed again.
func (d *disk) toHash(through blob.ChunkIndex) (n blob.ByteCount) {
	before := d.prefix[d.next()]
	for k := d.next(); k <= through && d.cells[k].origin != absent; k++ {
		next, known := d.from(k, before)
		if !known {
			n += d.length(k)
			next = after(k, before, d.cells[k].content)
		}
		before = next
	}
	return n
}

// dropLinks forgets the links that chains claimed, except those that prefix and suffix hold.
func (d *disk) dropLinks() {
	for i := range d.cells {
		d.cells[i].links = nil
	}
}

// settle draws the conclusions from a new link of chunk i: the prefix goes on over known
// links, the anchored suffix comes down over them, and what it reaches is verified.
func (d *disk) settle(i blob.ChunkIndex) (verified []blob.ChunkIndex) {
	for k := d.next(); k < d.n; k++ {
		next, ok := d.from(k, d.prefix[k])
		if !ok {
			break
		}
		d.prefix = append(d.prefix, next)
	}
	end := d.anchor
	for d.anchor > 0 {
		before, ok := d.to(d.anchor-1, d.suffix[d.anchor])
		if !ok {
			break
		}
		d.anchor--
		d.suffix[d.anchor] = before
	}
	for k := d.anchor; k < end; k++ {
		verified = d.verify(k, verified)
	}
	if i >= end {
		verified = d.verify(i, verified)
	}
	return verified
}

// verify marks a chunk whose bytes link the right values.
func (d *disk) verify(i blob.ChunkIndex, verified []blob.ChunkIndex) []blob.ChunkIndex {
	x := &d.cells[i]
	if x.verified {
		return verified
	}
	if next, ok := d.from(i, d.suffix[i]); !ok || next != d.suffix[i+1] {
		return verified
	}
	x.verified = true
	d.servable.Add(i)
	return append(verified, i)
}

// from is the value that the chunk's bytes are known to lead to.
func (d *disk) from(i blob.ChunkIndex, before value) (value, bool) {
	if i < d.next() && d.prefix[i] == before {
		return d.prefix[i+1], true
	}
	x := &d.cells[i]
	if x.verified && d.suffix[i] == before {
		return d.suffix[i+1], true
	}
	for _, h := range x.links {
		if h.before == before {
			return h.after, true
		}
	}
	return 0, false
}

// to is the value from which the chunk's bytes are known to lead to next.
func (d *disk) to(i blob.ChunkIndex, next value) (value, bool) {
	if i < d.next() && d.prefix[i+1] == next {
		return d.prefix[i], true
	}
	for _, h := range d.cells[i].links {
		if h.after == next {
			return h.before, true
		}
	}
	return 0, false
}
