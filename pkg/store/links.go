package store

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
)

// maxLinks bounds the links kept for one chunk besides those in prefix and suffix: more
// false chains than that push the oldest out, and it must be checked again.
const maxLinks = 4

// errNoChain is returned for a chain that does not belong to the blob.
var errNoChain = errors.New("chain is not one of this blob")

// CheckLink hashes the bytes of chunk i from the state that the chain c claims before it,
// and compares with the state claimed after it. A *LinkError says that the link does not
// hold. If it does, the store records it and returns the chunks that it proved: those in
// a suffix that is now anchored to the digest, R ones included. They are V, or stay R.
//
// It returns ErrNotHeld when the chunk is not there, and a *DiskError when it cannot be
// read. Any number of goroutines may check at once.
func (p *Partial) CheckLink(i blob.ChunkIndex, c chain.Chain) (verified []blob.ChunkIndex, err error) {
	if !p.geometry.Valid(i) {
		return nil, chunkError(i, p.geometry)
	}
	if c.IsZero() || len(c.Inner()) != int(p.geometry.Last()) || c.After(p.geometry.Last()) != chain.State(p.digest) {
		return nil, fmt.Errorf("check link of chunk %d: %w", i, errNoChain)
	}
	if err := p.begin(); err != nil {
		return nil, err
	}
	defer p.ops.Done()
	before, want := c.Before(i), c.After(i)
	for {
		after, version, err := p.hash(i, before)
		if err != nil {
			return nil, fmt.Errorf("check link of chunk %d: %w", i, err)
		}
		p.mu.Lock()
		if p.cells[i].origin == 0 || p.cells[i].version != version {
			p.mu.Unlock()
			continue // replaced while it was hashed: judge the bytes that are there now
		}
		if after == want {
			p.record(i, link{before: before, after: after})
			verified = p.settle(i)
		}
		p.mu.Unlock()
		if after != want {
			return nil, &LinkError{Blob: p.digest, Chunk: i}
		}
		return verified, nil
	}
}

// hash returns the state after chunk i, and the version of the bytes that it hashed. It
// does not hash what it knows.
func (p *Partial) hash(i blob.ChunkIndex, before chain.State) (chain.State, uint64, error) {
	p.mu.Lock()
	c := &p.cells[i]
	held, version := c.origin != 0, c.version
	after, known := p.from(i, before)
	p.mu.Unlock()
	switch {
	case !held:
		return chain.State{}, 0, ErrNotHeld
	case known:
		return after, version, nil
	}
	r := io.NewSectionReader(p.data, int64(p.geometry.Offset(i)), int64(p.geometry.Length(i)))
	buf := p.store.piece()
	defer p.store.pieces.Put(buf)
	after, err := chain.Next(p.geometry, i, before, r, buf[:])
	if err != nil {
		return chain.State{}, 0, &DiskError{Op: "read a chunk back", Err: err}
	}
	return after, version, nil
}

// HashPrefix hashes the stored chunks in a row from the IV, going on where the prefix
// stands, up to chunk through. The store keeps track itself of how far the bytes that are
// there now were hashed, so first only says where the caller believes the prefix to
// stand; what is known is not hashed again.
//
// It returns the first chunk that is not hashed: through+1, or less where a chunk is
// missing. At the end of the blob either verified lists every chunk, because the digest
// came out, or mismatch is set. Before the end verified lists what a suffix proved that
// the prefix met. A *DiskError is about chunk next.
func (p *Partial) HashPrefix(first, through blob.ChunkIndex) (next blob.ChunkIndex, verified []blob.ChunkIndex, mismatch bool, err error) {
	if !p.geometry.Valid(through) || first < 0 || first > through {
		return 0, nil, false, chunkError(through, p.geometry)
	}
	if err := p.begin(); err != nil {
		return 0, nil, false, err
	}
	defer p.ops.Done()
	for {
		p.mu.Lock()
		k := p.next()
		before, closed := p.prefix[k], p.closed
		p.mu.Unlock()
		if closed { // a Close waits for this
			return k, verified, false, ErrClosed
		}
		if k > through {
			break
		}
		after, version, err := p.hash(k, before)
		if errors.Is(err, ErrNotHeld) {
			break
		}
		if err != nil {
			return k, verified, false, fmt.Errorf("hash chunk %d: %w", k, err)
		}
		p.mu.Lock()
		if c := &p.cells[k]; p.next() == k && p.prefix[k] == before && c.origin != 0 && c.version == version {
			p.prefix = append(p.prefix, after)
			verified = append(verified, p.settle(k)...)
		}
		p.mu.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	next = p.next()
	slices.Sort(verified)
	switch {
	case next < p.geometry.Chunks():
	case p.complete():
		verified = slices.Collect(blob.FullBitset(p.geometry.Chunks()).All())
	default:
		mismatch = true
	}
	return next, verified, mismatch, nil
}

// DropLinks forgets the links that chains claimed, except those that the digest anchors,
// or that continue the blob's own hash from the IV.
func (p *Partial) DropLinks() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.cells {
		p.cells[i].links = nil
	}
}

// next is the first chunk that the prefix does not cover. The caller holds mu.
func (p *Partial) next() blob.ChunkIndex { return blob.ChunkIndex(len(p.prefix) - 1) }

// complete reports whether the bytes in the file hash to the digest. The caller holds mu.
func (p *Partial) complete() bool {
	n := p.geometry.Chunks()
	return p.next() == n && p.prefix[n] == chain.State(p.digest)
}

// record keeps a link that holds. The caller holds mu.
func (p *Partial) record(i blob.ChunkIndex, l link) {
	c := &p.cells[i]
	if slices.Contains(c.links, l) {
		return
	}
	if len(c.links) == maxLinks {
		c.links = slices.Delete(c.links, 0, 1)
	}
	c.links = append(c.links, l)
}

// settle draws the conclusions from a new link of chunk i, and returns the chunks that
// became verified, in ascending order. The caller holds mu.
func (p *Partial) settle(i blob.ChunkIndex) (verified []blob.ChunkIndex) {
	for k := p.next(); k < p.geometry.Chunks(); k++ {
		after, ok := p.from(k, p.prefix[k])
		if !ok {
			break
		}
		p.prefix = append(p.prefix, after)
	}
	end := p.anchor
	for p.anchor > 0 {
		before, ok := p.to(p.anchor-1, p.suffix[p.anchor])
		if !ok {
			break
		}
		p.anchor--
		p.suffix[p.anchor] = before
	}
	for k := p.anchor; k < end; k++ {
		verified = p.verify(k, verified)
	}
	if i >= end {
		verified = p.verify(i, verified)
	}
	return verified
}

// verify marks chunk i verified if its bytes link the right states, and appends it to
// verified if that is new. The caller holds mu.
func (p *Partial) verify(i blob.ChunkIndex, verified []blob.ChunkIndex) []blob.ChunkIndex {
	c := &p.cells[i]
	if c.verified {
		return verified
	}
	if after, ok := p.from(i, p.suffix[i]); !ok || after != p.suffix[i+1] {
		return verified
	}
	c.verified = true
	return append(verified, i)
}

// from returns the state that the chunk's bytes are known to lead to. The caller holds mu.
func (p *Partial) from(i blob.ChunkIndex, before chain.State) (chain.State, bool) {
	if i < p.next() && p.prefix[i] == before {
		return p.prefix[i+1], true
	}
	c := &p.cells[i]
	if c.verified && p.suffix[i] == before {
		return p.suffix[i+1], true
	}
	for _, l := range c.links {
		if l.before == before {
			return l.after, true
		}
	}
	return chain.State{}, false
}

// to returns the state from which the chunk's bytes are known to lead to after. The
// caller holds mu.
func (p *Partial) to(i blob.ChunkIndex, after chain.State) (chain.State, bool) {
	if i < p.next() && p.prefix[i+1] == after {
		return p.prefix[i], true
	}
	for _, l := range p.cells[i].links {
		if l.after == after {
			return l.before, true
		}
	}
	return chain.State{}, false
}
