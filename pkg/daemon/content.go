package daemon

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"

	"github.com/shoal-project/shoal/pkg/blob"
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
	body, err := b.engine.Open(engine.Want(want))
	if err != nil {
		return nil, err
	}
	return body, nil
}

// manifests is the store as the proxy wants it.
type manifests struct{ store *store.Store }

// Bytes implements proxy.Store.
func (m manifests) Bytes(d blob.Digest, limit blob.ByteCount) ([]byte, error) {
	p, err := m.store.GetBytes(d, limit)
	return p, notHeld(err)
}

// Size implements proxy.Store.
func (m manifests) Size(d blob.Digest) (blob.ByteCount, error) {
	proven, err := m.store.Get(d)
	if err != nil {
		return 0, notHeld(err)
	}
	size := proven.Size()
	return size, proven.Close()
}

// PutBytes implements proxy.Store.
func (m manifests) PutBytes(d blob.Digest, p []byte) error { return m.store.PutBytes(d, p) }

func notHeld(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: %w", proxy.ErrNotHeld, err)
	}
	return err
}

// seed is for the scheduler's ties, not for secrets.
func seed() uint64 { return new(maphash.Hash).Sum64() }
