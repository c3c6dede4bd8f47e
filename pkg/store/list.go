package store

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A Layer is one line of List.
type Layer struct {
	Digest blob.Digest
	Size   blob.ByteCount
	Proven bool
	// Registry, Verified and Quarantined count the chunks of a partial blob by state: R,
	// V, Q. Of one that nobody works on it is what the state file claims, unchecked.
	Registry, Verified, Quarantined blob.ChunkIndex
	// InUse says that somebody has the blob open, or works on it.
	InUse    bool
	LastUsed time.Time
}

// List returns every blob, proven or partial, most recently used first.
func (s *Store) List() []Layer {
	s.mu.Lock()
	layers := make([]Layer, 0, len(s.blobs)+len(s.idle)+len(s.live))
	for d, e := range s.blobs {
		layers = append(layers, Layer{Digest: d, Size: e.size, Proven: true, InUse: e.open > 0, LastUsed: e.lastUsed})
	}
	idle := make([]Layer, 0, len(s.idle))
	for d, p := range s.idle {
		idle = append(idle, Layer{Digest: d, Size: p.size, LastUsed: p.lastUsed})
	}
	live := make([]*Partial, 0, len(s.live))
	for _, p := range s.live {
		live = append(live, p)
	}
	s.mu.Unlock()
	for _, l := range idle {
		if s.countIdle(&l) {
			layers = append(layers, l)
		}
	}
	for _, p := range live {
		r, v, q := p.States()
		layers = append(layers, Layer{
			Digest: p.digest, Size: p.geometry.Size(), InUse: true, LastUsed: s.cfg.Now(),
			Registry: r.Count(), Verified: v.Count(), Quarantined: q.Count(),
		})
	}
	slices.SortFunc(layers, func(a, b Layer) int {
		if c := b.LastUsed.Compare(a.LastUsed); c != 0 {
			return c
		}
		return slices.Compare(a.Digest[:], b.Digest[:])
	})
	return layers
}

// countIdle counts the chunks of an idle partial blob, and reports false for one that is
// gone by now.
func (s *Store) countIdle(l *Layer) bool {
	_, slots, err := s.readState(l.Digest)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	for _, slot := range slots {
		switch slot.origin {
		case FromRegistry:
			l.Registry++
		case FromPeer:
			l.Quarantined++
		}
	}
	return true
}

// Stats counts what the store holds.
type Stats struct {
	Blobs        int
	BlobBytes    blob.ByteCount
	Partials     int
	PartialBytes blob.ByteCount // of the chunks held
}

// Stats counts what the store holds, without reading the disk.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	st := Stats{Blobs: len(s.blobs), Partials: len(s.idle) + len(s.live)}
	for _, e := range s.blobs {
		st.BlobBytes += e.size
	}
	for _, p := range s.idle {
		st.PartialBytes += p.held
	}
	live := make([]*Partial, 0, len(s.live))
	for _, p := range s.live {
		live = append(live, p)
	}
	s.mu.Unlock()
	for _, p := range live {
		st.PartialBytes += p.heldBytes()
	}
	return st
}

// Delete removes the blob, proven or partial. Open handles stay good. It returns
// ErrNotFound when there is nothing to remove, and ErrLive while somebody works on it.
func (s *Store) Delete(d blob.Digest) error {
	if err := s.begin(); err != nil {
		return fmt.Errorf("delete blob %s: %w", d.Short(), err)
	}
	defer s.calls.Done()
	s.change.Lock()
	defer s.change.Unlock()
	s.mu.Lock()
	_, isIdle := s.idle[d]
	isBlob, isLive := s.blobs[d] != nil, s.live[d] != nil
	delete(s.idle, d)
	s.mu.Unlock()
	var err error
	switch {
	case isLive:
		err = ErrLive
	case !isBlob && !isIdle:
		err = ErrNotFound
	}
	if err == nil && isBlob {
		err = s.removeBlob(d)
	}
	if err == nil && isIdle {
		err = s.removePartial(d)
	}
	if err != nil {
		return fmt.Errorf("delete blob %s: %w", d.Short(), err)
	}
	return nil
}
