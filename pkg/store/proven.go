package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
)

// A Proven is an open proven blob. Its methods are safe for concurrent use. It stays good
// when the blob is evicted, and when the store is closed.
type Proven struct {
	store    *Store
	entry    *entry
	digest   blob.Digest
	geometry blob.Geometry
	file     File

	closing  sync.Once
	closeErr error

	mu    sync.Mutex // held while the chain is built: once is enough
	chain chain.Chain
}

// openProven opens the file of d and holds its size against what the chain says.
func (s *Store) openProven(d blob.Digest, e *entry) (*Proven, error) {
	f, err := s.fs.OpenFile(s.blobPath(d), os.O_RDONLY, 0)
	if err != nil {
		return nil, &DiskError{Op: "open the blob's file", Err: err}
	}
	p, err := s.checkProven(d, e, f)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return p, nil
}

func (s *Store) checkProven(d blob.Digest, e *entry, f File) (*Proven, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, &DiskError{Op: "open the blob's file", Err: err}
	}
	if info.Size() != int64(e.size) {
		return nil, fmt.Errorf("%w: %d bytes, not %d", ErrMismatch, info.Size(), e.size)
	}
	g, err := blob.NewGeometry(e.size)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMismatch, err)
	}
	p := &Proven{store: s, entry: e, digest: d, geometry: g, file: f}
	claimed, c, err := s.loadChain(d)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		s.log.Warn("chain file unusable", "blob", d.String(), "err", err)
	case claimed != g:
		return nil, fmt.Errorf("%w: %d bytes, not %d as its chain says", ErrMismatch, e.size, claimed.Size())
	default:
		p.chain = c
	}
	return p, nil
}

// Digest is the SHA-256 of the bytes.
func (p *Proven) Digest() blob.Digest { return p.digest }

// Size is the size of the blob.
func (p *Proven) Size() blob.ByteCount { return p.geometry.Size() }

// Geometry says how the blob is cut into chunks.
func (p *Proven) Geometry() blob.Geometry { return p.geometry }

// ReadAt implements io.ReaderAt.
func (p *Proven) ReadAt(b []byte, off int64) (int, error) { return p.file.ReadAt(b, off) }

// Chunk opens chunk i. It is good until Close.
func (p *Proven) Chunk(i blob.ChunkIndex) (io.ReadCloser, error) {
	if !p.geometry.Valid(i) {
		return nil, chunkError(i, p.geometry)
	}
	return io.NopCloser(io.NewSectionReader(p.file, int64(p.geometry.Offset(i)), int64(p.geometry.Length(i)))), nil
}

// File opens the blob's file once more, for sendfile: with an offset of its own, and good
// after this handle is closed. The caller closes it. It is errors.ErrUnsupported where the
// files are not the operating system's.
func (p *Proven) File() (*os.File, error) { return reopen(p.file, p.store.blobPath(p.digest)) }

// Chain returns the blob's chain. Where the chain file is missing it reads and hashes the
// whole blob, as BuildChain does, and writes the file.
func (p *Proven) Chain() (chain.Chain, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.chain.IsZero() {
		return p.chain, nil
	}
	return p.build()
}

// BuildChain reads and hashes the whole blob, which proves it anew, and writes its chain
// file. A blob that no longer hashes to its digest is dropped from the store, and the
// error is ErrMismatch: stop using the handle.
func (p *Proven) BuildChain() (chain.Chain, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.build()
}

func (p *Proven) build() (chain.Chain, error) {
	inner := make([]chain.State, 0, p.geometry.Last())
	buf := p.store.piece()
	defer p.store.pieces.Put(buf)
	state := chain.IV()
	for i := range p.geometry.Chunks() {
		at, n := int64(p.geometry.Offset(i)), int64(p.geometry.Length(i))
		next, err := chain.Next(p.geometry, i, state, io.NewSectionReader(p.file, at, n), buf[:])
		if err != nil {
			return chain.Chain{}, &DiskError{Op: "read the blob's file", Err: err}
		}
		if i < p.geometry.Last() {
			inner = append(inner, next)
		}
		state = next
	}
	if state != chain.State(p.digest) {
		err := fmt.Errorf("build the chain of %s: %w", p.digest.Short(), ErrMismatch)
		p.store.drop(p.digest, p.entry, err)
		return chain.Chain{}, err
	}
	c, err := chain.New(p.geometry, p.digest, inner)
	if err != nil {
		return chain.Chain{}, fmt.Errorf("build the chain of %s: %w", p.digest.Short(), err)
	}
	p.chain = c
	p.keepChain(c)
	return c, nil
}

// keepChain writes the chain file while the blob is in its place. Without one the chain
// is only built again another time.
func (p *Proven) keepChain(c chain.Chain) {
	s := p.store
	if s.begin() != nil {
		return
	}
	defer s.calls.Done()
	s.mu.Lock()
	current := s.blobs[p.digest] == p.entry
	s.mu.Unlock()
	if !current {
		return
	}
	if err := s.saveChain(p.digest, p.geometry, c); err != nil {
		s.log.Warn("chain not kept", "blob", p.digest.String(), "err", err)
	}
}

// Close gives the file back. What File returned stays open.
func (p *Proven) Close() error {
	p.closing.Do(func() {
		p.closeErr = p.file.Close()
		p.store.release(p.entry)
	})
	return p.closeErr
}
