package store

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/shoal-project/shoal/pkg/blob"
)

// MaxBytesBlob is the largest blob that PutBytes and GetBytes handle: a manifest, an
// index or a configuration.
const MaxBytesBlob = 4 * blob.MiB

// PutBytes keeps a small blob: checked against its digest (ErrMismatch), written, synced
// and renamed into place. A blob that is there already is only noted as used. The caller
// keeps content.
func (s *Store) PutBytes(d blob.Digest, content []byte) error {
	if blob.ByteCount(len(content)) > MaxBytesBlob {
		return fmt.Errorf("keep blob %s: %w: %d bytes", d.Short(), ErrTooLarge, len(content))
	}
	if sha256.Sum256(content) != d {
		return fmt.Errorf("keep blob %s: %w", d.Short(), ErrMismatch)
	}
	if err := s.begin(); err != nil {
		return fmt.Errorf("keep blob %s: %w", d.Short(), err)
	}
	defer s.calls.Done()
	s.mu.Lock()
	e := s.blobs[d]
	s.mu.Unlock()
	if e != nil {
		s.used(d, e)
		return nil
	}
	if err := s.writeInPlace(s.blobPath(d), content, 0o444); err != nil {
		return fmt.Errorf("keep blob %s: %w", d.Short(), err)
	}
	s.add(d, blob.ByteCount(len(content)))
	return nil
}

// GetBytes returns a proven blob whole, if it has at most limit bytes (ErrTooLarge), and
// never more than MaxBytesBlob. The bytes are the caller's, and were checked against the
// digest just now; a blob that fails the check is dropped, and not found.
func (s *Store) GetBytes(d blob.Digest, limit blob.ByteCount) ([]byte, error) {
	p, err := s.Get(d)
	if err != nil {
		return nil, err
	}
	defer func() { _ = p.Close() }()
	if p.Size() > min(limit, MaxBytesBlob) {
		return nil, fmt.Errorf("read blob %s: %w: %d bytes", d.Short(), ErrTooLarge, p.Size())
	}
	content := make([]byte, p.Size())
	if n, err := p.ReadAt(content, 0); n < len(content) {
		err = &DiskError{Op: "read the blob's file", Err: err}
		if damaged(err) {
			s.drop(d, p.entry, err)
			err = errors.Join(ErrNotFound, err)
		}
		return nil, fmt.Errorf("read blob %s: %w", d.Short(), err)
	}
	if sha256.Sum256(content) != d {
		s.drop(d, p.entry, ErrMismatch)
		return nil, fmt.Errorf("read blob %s: %w: %w", d.Short(), ErrNotFound, ErrMismatch)
	}
	return content, nil
}
