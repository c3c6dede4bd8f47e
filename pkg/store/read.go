package store

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
)

// States returns which chunks are R, V and Q. The sets are disjoint and the caller's. A
// chunk that is both, read from upstream and verified, is R.
func (p *Partial) States() (r, v, q blob.Bitset) {
	n := p.geometry.Chunks()
	r, v, q = blob.NewBitset(n), blob.NewBitset(n), blob.NewBitset(n)
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range n {
		switch c := &p.cells[i]; {
		case c.origin == 0:
		case c.origin == FromRegistry:
			r.Add(i)
		case c.verified, p.proven:
			v.Add(i)
		default:
			q.Add(i)
		}
	}
	return r, v, q
}

// servable reports whether the chunk may go to a peer. The caller holds mu.
func (p *Partial) servable(i blob.ChunkIndex) bool {
	c := &p.cells[i]
	return c.origin == FromRegistry || c.origin != 0 && (c.verified || p.proven)
}

// ReadServable returns the bytes of chunk i for a peer, or ErrNotServable if it is not R
// or V. The reader is for one goroutine. It fails in mid-chunk with ErrNotServable when
// the bytes are replaced or dropped meanwhile, and with ErrClosed after Close.
func (p *Partial) ReadServable(i blob.ChunkIndex) (io.Reader, error) {
	if !p.geometry.Valid(i) {
		return nil, chunkError(i, p.geometry)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, ErrClosed
	case !p.servable(i):
		return nil, fmt.Errorf("read chunk %d: %w", i, ErrNotServable)
	}
	return &servedChunk{
		partial: p, chunk: i, version: p.cells[i].version,
		at: int64(p.geometry.Offset(i)), end: int64(p.geometry.Offset(i + 1)),
	}, nil
}

// A servedChunk reads one chunk and stops when its bytes change.
type servedChunk struct {
	partial *Partial
	chunk   blob.ChunkIndex
	version uint64
	at, end int64
}

// Read implements io.Reader.
func (c *servedChunk) Read(b []byte) (int, error) {
	if c.at >= c.end {
		return 0, io.EOF
	}
	p := c.partial
	if err := p.begin(); err != nil {
		return 0, err
	}
	defer p.ops.Done()
	n, err := p.data.ReadAt(b[:min(int64(len(b)), c.end-c.at)], c.at)
	// Looked at after the bytes: whoever changes them changes the version first.
	p.mu.Lock()
	good := p.cells[c.chunk].version == c.version && p.servable(c.chunk)
	p.mu.Unlock()
	if !good {
		return 0, fmt.Errorf("read chunk %d: %w", c.chunk, ErrNotServable)
	}
	c.at += int64(n)
	if n == 0 && err != nil && len(b) > 0 {
		return 0, &DiskError{Op: "read a chunk", Err: err}
	}
	return n, nil
}

// AvailableFrom is the number of bytes at off that a client may have now: those of R
// chunks in a row, or everything once the blob is proven.
func (p *Partial) AvailableFrom(off blob.ByteCount) blob.ByteCount {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.available(off)
}

func (p *Partial) available(off blob.ByteCount) blob.ByteCount {
	g := p.geometry
	if off < 0 || off >= g.Size() || p.closed {
		return 0
	}
	if p.proven {
		return g.Size() - off
	}
	i := g.At(off)
	for i < g.Chunks() && p.cells[i].origin == FromRegistry {
		i++
	}
	return max(0, g.Offset(i)-off)
}

// ReadAt reads bytes that a client may have (AvailableFrom) and implements io.ReaderAt.
// Where they end before b does, it returns what there is with ErrNotServable, or io.EOF at
// the end of the blob.
func (p *Partial) ReadAt(b []byte, off int64) (int, error) {
	if err := p.begin(); err != nil {
		return 0, err
	}
	defer p.ops.Done()
	if off < 0 {
		return 0, fmt.Errorf("read at %d: %w", off, ErrNotServable)
	}
	short := error(nil)
	if left := int64(p.geometry.Size()) - off; int64(len(b)) > left {
		b, short = b[:max(0, left)], io.EOF
	}
	if len(b) == 0 {
		return 0, short
	}
	for {
		allowed, before := p.allowed(b, off)
		if allowed == 0 {
			return 0, fmt.Errorf("read at %d: %w", off, ErrNotServable)
		}
		n, err := p.data.ReadAt(b[:allowed], off)
		if again, after := p.allowed(b, off); again < allowed || before != after {
			continue // a chunk was replaced or dropped meanwhile
		}
		switch {
		case n < allowed:
			return n, &DiskError{Op: "read a chunk", Err: err}
		case allowed < len(b):
			return n, fmt.Errorf("read at %d: %w", off+int64(n), ErrNotServable)
		default:
			return n, short
		}
	}
}

// allowed is how much of b a client may have at off, and a number that changes when
// bytes there do.
func (p *Partial) allowed(b []byte, off int64) (n int, version uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n = int(min(int64(len(b)), int64(p.available(blob.ByteCount(off)))))
	if n == 0 {
		return 0, 0
	}
	for i := p.geometry.At(blob.ByteCount(off)); i <= p.geometry.At(blob.ByteCount(off)+blob.ByteCount(len(b))-1); i++ {
		version += p.cells[i].version // versions only grow
	}
	return n, version
}

// File opens the file of a proven blob once more, for sendfile: with an offset of its
// own, and good after this partial blob is closed. The caller closes it. Before the proof
// it is ErrNotProven.
func (p *Partial) File() (*os.File, error) {
	if err := p.begin(); err != nil {
		return nil, err
	}
	defer p.ops.Done()
	p.mu.Lock()
	proven := p.proven
	p.mu.Unlock()
	if !proven {
		return nil, fmt.Errorf("open blob %s: %w", p.digest.Short(), ErrNotProven)
	}
	s := p.store
	return reopen(p.data, s.blobPath(p.digest), filepath.Join(s.partialDir(p.digest), dataName))
}

// Chain returns the chain of a proven blob, and ErrNotProven before.
func (p *Partial) Chain() (chain.Chain, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.proven {
		return chain.Chain{}, fmt.Errorf("chain of %s: %w", p.digest.Short(), ErrNotProven)
	}
	return chain.New(p.geometry, p.digest, p.prefix[1:p.geometry.Chunks()])
}
