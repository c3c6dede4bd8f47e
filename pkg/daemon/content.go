package daemon

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/content"
	"github.com/shoal-project/shoal/pkg/engine"
	"github.com/shoal-project/shoal/pkg/store"
	"github.com/shoal-project/shoal/proxy"
)

// blobs is the engine as the proxy wants it.
type blobs struct{ engine *engine.Engine }

// Start implements proxy.Blobs.
func (b blobs) Start(want proxy.Want) error {
	b.engine.Start(engine.Want(want))
	return nil
}

// Open implements proxy.Blobs.
func (b blobs) Open(_ context.Context, want proxy.Want) (proxy.Body, error) {
	opened, err := b.engine.Open(engine.Want(want))
	if err != nil {
		return nil, wrongBytes(err)
	}
	return body{opened}, nil
}

// body is the engine's body with errors that the proxy knows.
type body struct{ *engine.Body }

// Available implements proxy.Body.
func (b body) Available(ctx context.Context, off blob.ByteCount) (blob.ByteCount, bool, error) {
	n, proven, err := b.Body.Available(ctx, off)
	return n, proven, wrongBytes(err)
}

// ReadAt implements proxy.Body.
func (b body) ReadAt(p []byte, off int64) (int, error) {
	n, err := b.Body.ReadAt(p, off)
	return n, wrongBytes(err)
}

// wrongBytes says that what clients were given of a download does not hash to its digest.
func wrongBytes(err error) error {
	if errors.Is(err, engine.ErrWrongBytes) {
		return fmt.Errorf("%w: %w", proxy.ErrWrongBytes, err)
	}
	return err
}

// manifests is what is proven here as the proxy wants it: in the store, or in containerd's
// content.
type manifests struct {
	store   *store.Store
	runtime *runtime
	disk    func(error) // is told of a disk that fails
}

// Bytes implements proxy.Store.
func (m manifests) Bytes(d blob.Digest, limit blob.ByteCount) ([]byte, error) {
	p, err := m.store.GetBytes(d, limit)
	if errors.Is(err, store.ErrNotFound) && m.runtime.content != nil {
		p, err = m.runtime.content.Bytes(d, limit)
	}
	return p, notHeld(err)
}

// Size implements proxy.Store.
func (m manifests) Size(d blob.Digest) (blob.ByteCount, error) {
	stored, err := m.store.Get(d)
	if err == nil {
		return stored.Size(), stored.Close()
	}
	if !errors.Is(err, store.ErrNotFound) {
		return 0, err
	}
	kept, err := m.runtime.get(d)
	if err != nil {
		return 0, notHeld(err)
	}
	return kept.Geometry().Size(), kept.Close()
}

// PutBytes implements proxy.Store.
func (m manifests) PutBytes(d blob.Digest, p []byte) error {
	err := m.store.PutBytes(d, p)
	if errors.Is(err, store.ErrDisk) {
		m.disk(err)
	}
	return err
}

func notHeld(err error) error {
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, content.ErrNotHeld) {
		return fmt.Errorf("%w: %w", proxy.ErrNotHeld, err)
	}
	return err
}

// seed is for the scheduler's ties, not for secrets.
func seed() uint64 { return new(maphash.Hash).Sum64() }
