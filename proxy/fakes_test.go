package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/upstream"
)

// A memStore is a Store in memory.
type memStore struct {
	mu   sync.Mutex
	held map[blob.Digest][]byte
	fail error
}

func (s *memStore) Bytes(d blob.Digest, limit blob.ByteCount) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.held[d]
	if !ok || len(p) > int(limit) {
		return nil, ErrNotHeld
	}
	return p, nil
}

func (s *memStore) Size(d blob.Digest) (blob.ByteCount, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.held[d]
	if !ok {
		return 0, ErrNotHeld
	}
	return blob.ByteCount(len(p)), nil
}

func (s *memStore) PutBytes(d blob.Digest, p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	if digestOf(p) != d {
		return errors.New("bytes do not match the digest")
	}
	s.held[d] = bytes.Clone(p)
	return nil
}

func (s *memStore) has(d blob.Digest) bool { _, err := s.Size(d); return err == nil }

// fakeBlobs are downloads that a test drives. A blob in proven is whole; one in rows has
// its first bytes available; another stays silent.
type fakeBlobs struct {
	dir     string
	mu      sync.Mutex
	started []Want
	opened  []Want
	content map[blob.Digest][]byte
	rows    map[blob.Digest]int // how many bytes from the start are available
	proven  map[blob.Digest]bool
	failed  map[blob.Digest]error
	refuse  error         // Open's answer
	onRead  func() error  // may fail a ReadAt; called under the lock
	changed chan struct{} // closed and replaced on every change
	open    int
}

func newBlobs(t *testing.T) *fakeBlobs {
	t.Helper()
	return &fakeBlobs{
		dir: t.TempDir(), content: map[blob.Digest][]byte{}, rows: map[blob.Digest]int{},
		proven: map[blob.Digest]bool{}, failed: map[blob.Digest]error{}, changed: make(chan struct{}),
	}
}

// update changes the state under the lock and wakes whoever waits.
func (b *fakeBlobs) update(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
	close(b.changed)
	b.changed = make(chan struct{})
}

// hold makes p a proven blob.
func (b *fakeBlobs) hold(p []byte) {
	b.update(func() { d := digestOf(p); b.content[d], b.proven[d] = p, true })
}

func (b *fakeBlobs) Start(w Want) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.started = append(b.started, w)
	return nil
}

func (b *fakeBlobs) Open(_ context.Context, w Want) (Body, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opened = append(b.opened, w)
	if b.refuse != nil {
		return nil, b.refuse
	}
	b.open++
	return &fakeBody{blobs: b, want: w}, nil
}

// startedBlobs is the digests that Start was called with.
func (b *fakeBlobs) startedBlobs() map[blob.Digest]Want {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[blob.Digest]Want{}
	for _, w := range b.started {
		out[w.Blob] = w
	}
	return out
}

type fakeBody struct {
	blobs *fakeBlobs
	want  Want
}

func (b *fakeBody) Size() blob.ByteCount { return b.want.Size }

func (b *fakeBody) Available(ctx context.Context, off blob.ByteCount) (blob.ByteCount, bool, error) {
	for {
		b.blobs.mu.Lock()
		proven, row, err := b.blobs.proven[b.want.Blob], b.blobs.rows[b.want.Blob], b.blobs.failed[b.want.Blob]
		changed := b.blobs.changed
		b.blobs.mu.Unlock()
		switch {
		case proven:
			return b.want.Size - off, true, nil
		case blob.ByteCount(row) > off:
			return blob.ByteCount(row) - off, false, nil
		case err != nil:
			return 0, false, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, false, fmt.Errorf("wait: %w", context.Cause(ctx))
		}
	}
}

func (b *fakeBody) ReadAt(p []byte, off int64) (int, error) {
	b.blobs.mu.Lock()
	defer b.blobs.mu.Unlock()
	if b.blobs.onRead != nil {
		if err := b.blobs.onRead(); err != nil {
			return 0, err
		}
	}
	n := copy(p, b.blobs.content[b.want.Blob][off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (b *fakeBody) File() (*os.File, error) {
	b.blobs.mu.Lock()
	defer b.blobs.mu.Unlock()
	if !b.blobs.proven[b.want.Blob] {
		return nil, errors.New("blob is not proven")
	}
	path := filepath.Join(b.blobs.dir, b.want.Blob.Hex())
	if f, err := os.Open(path); err == nil {
		return f, nil
	}
	if err := os.WriteFile(path, b.blobs.content[b.want.Blob], 0o600); err != nil {
		return nil, err
	}
	return os.Open(path)
}

func (b *fakeBody) Close() error {
	b.blobs.mu.Lock()
	defer b.blobs.mu.Unlock()
	b.blobs.open--
	return nil
}

// fakeMembers answer what a test says.
type fakeMembers struct {
	mu    sync.Mutex
	said  []Answer
	asked int
}

func (m *fakeMembers) Resolve(context.Context, upstream.Repository, upstream.Reference) ([]Answer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	return m.said, nil
}

// snapshot is the Wants that were opened.
func (b *fakeBlobs) snapshot() []Want {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Want(nil), b.opened...)
}

// openBodies is how many bodies were opened and not closed.
func (b *fakeBlobs) openBodies() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open
}
