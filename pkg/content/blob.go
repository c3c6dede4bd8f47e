package content

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
)

// ErrNotHeld means that containerd does not hold the blob, or that it is not proven.
var ErrNotHeld = errors.New("blob is not in containerd's content")

// ErrSpoiled means that a file is not what it was when it was proven.
var ErrSpoiled = errors.New("containerd's copy of the blob is not what it was")

// A Blob is an open proven blob of containerd's. Its methods are safe for concurrent use. It
// stays good when containerd removes the blob. Close it.
type Blob struct {
	content  *Content
	digest   blob.Digest
	geometry blob.Geometry
	proof    proof
	file     *os.File

	closing  sync.Once
	closeErr error
}

// Geometry says how the blob is cut into chunks.
func (b *Blob) Geometry() blob.Geometry { return b.geometry }

// Chain returns the blob's chain.
func (b *Blob) Chain() (chain.Chain, error) { return b.proof.chain, nil }

// ReadAt implements io.ReaderAt, for clients of this node. It fails with ErrSpoiled once the
// file has changed.
func (b *Blob) ReadAt(p []byte, off int64) (int, error) {
	n, err := b.file.ReadAt(p, off)
	if changed := b.unchanged(); changed != nil {
		return 0, changed
	}
	return n, err
}

// File opens the file once more, for sendfile: with an offset of its own, and good after this
// handle is closed. The caller closes it. It fails with ErrSpoiled once the file has changed.
func (b *Blob) File() (*os.File, error) {
	if err := b.unchanged(); err != nil {
		return nil, err
	}
	return reopen(b.file)
}

// Chunk returns chunk i for a peer, from memory: these very bytes were hashed just now. It
// fails with ErrSpoiled if they are not the chunk's.
func (b *Blob) Chunk(i blob.ChunkIndex) (io.ReadCloser, error) {
	p, err := b.chunk(i)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(p)), nil
}

func (b *Blob) chunk(i blob.ChunkIndex) ([]byte, error) {
	g := b.geometry
	if !g.Valid(i) {
		return nil, fmt.Errorf("chunk %d of %d: %w", i, g.Chunks(), os.ErrInvalid)
	}
	p := make([]byte, g.Length(i))
	if n, err := b.file.ReadAt(p, int64(g.Offset(i))); n < len(p) {
		return nil, b.spoiled(fmt.Errorf("read chunk %d: %w", i, err))
	}
	after, err := chain.Next(g, i, b.proof.chain.Before(i), bytes.NewReader(p), nil)
	if err != nil || after != b.proof.chain.After(i) {
		return nil, b.spoiled(fmt.Errorf("chunk %d", i))
	}
	return p, nil
}

// unchanged fails with ErrSpoiled if the file is not the one that was proven.
func (b *Blob) unchanged() error {
	now, links, err := identify(b.file)
	if err == nil && b.proof.file.still(now, links) {
		return nil
	}
	return b.spoiled(err)
}

// spoiled has the blob proven anew before it is offered again.
func (b *Blob) spoiled(why error) error {
	b.content.doubt(b.digest)
	if why == nil {
		return fmt.Errorf("%w: %s", ErrSpoiled, b.digest.Short())
	}
	return fmt.Errorf("%w: %s: %w", ErrSpoiled, b.digest.Short(), why)
}

// Close gives the file back. What File returned stays open.
func (b *Blob) Close() error {
	b.closing.Do(func() { b.closeErr = b.file.Close() })
	return b.closeErr
}
