package store

import (
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A victim is something that may be removed to make room.
type victim struct {
	digest   blob.Digest
	partial  bool
	bytes    blob.ByteCount
	lastUsed time.Time
}

// Trim removes partial blobs that were abandoned, and, where the store has outgrown its
// limit or the disk, what was not used for longest. What is open stays: removing it
// would free nothing. The store trims itself when it opens and before a partial blob is
// made; a daemon may call it now and then, too.
func (s *Store) Trim() {
	if s.begin() != nil {
		return
	}
	defer s.calls.Done()
	s.change.Lock()
	defer s.change.Unlock()
	victims := s.victims()
	for _, v := range victims {
		if v.partial && s.since(v.lastUsed) > s.cfg.AbandonAfter {
			s.evict(v)
		}
	}
	s.free(s.victims(), s.shortage())
}

// makeRoom sees to it that what the live partial blobs will grow to fits, or fails with
// an error that is ErrDiskFull and leaves everything as it was.
func (s *Store) makeRoom() error {
	s.change.Lock()
	defer s.change.Unlock()
	short := s.shortage()
	if short <= 0 {
		return nil
	}
	victims := s.victims()
	var most blob.ByteCount
	for _, v := range victims {
		most += v.bytes
	}
	if most < short {
		return &DiskError{Op: fmt.Sprintf("make room for a blob (%d bytes short)", short-most), Err: syscall.ENOSPC}
	}
	s.free(victims, short)
	return nil
}

// free removes victims until short bytes were freed. The caller holds change.
func (s *Store) free(victims []victim, short blob.ByteCount) {
	for _, v := range victims {
		if short <= 0 {
			return
		}
		if s.evict(v) {
			short -= v.bytes
		}
	}
}

// victims lists what nobody has open, least recently used first.
func (s *Store) victims() []victim {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []victim
	for d, e := range s.blobs {
		if e.open == 0 {
			out = append(out, victim{digest: d, bytes: e.size, lastUsed: e.lastUsed})
		}
	}
	for d, p := range s.idle {
		out = append(out, victim{digest: d, partial: true, bytes: p.held, lastUsed: p.lastUsed})
	}
	slices.SortFunc(out, func(a, b victim) int {
		if c := a.lastUsed.Compare(b.lastUsed); c != 0 {
			return c
		}
		return slices.Compare(a.digest[:], b.digest[:])
	})
	return out
}

// evict removes one victim, unless it was opened meanwhile. The caller holds change.
func (s *Store) evict(v victim) bool {
	s.mu.Lock()
	if v.partial {
		if _, ok := s.idle[v.digest]; !ok {
			s.mu.Unlock()
			return false
		}
		delete(s.idle, v.digest)
	} else if e := s.blobs[v.digest]; e == nil || e.open > 0 {
		s.mu.Unlock()
		return false
	}
	s.mu.Unlock()
	var err error
	if v.partial {
		err = s.removePartial(v.digest)
	} else {
		err = s.removeBlob(v.digest)
	}
	if err != nil {
		s.log.Warn("blob not evicted", "blob", v.digest.String(), "partial", v.partial, "err", err)
		return false
	}
	s.log.Info("blob evicted", "blob", v.digest.String(), "partial", v.partial, "bytes", int64(v.bytes))
	return true
}

// shortage is how many bytes must go for the store to be within its limit once every
// live partial blob is complete. It is negative when there is room.
func (s *Store) shortage() blob.ByteCount {
	kept, growth := s.kept()
	short := kept + growth - s.cfg.MaxBytes
	var reserve blob.ByteCount
	free, total, err := s.fs.Space(s.cfg.Dir)
	if s.cfg.MaxBytes == 0 {
		short, reserve = 0, total/10
	}
	if err != nil {
		s.log.Debug("disk space unknown", "err", err)
		return short
	}
	return max(short, growth+reserve-free)
}

// kept returns the bytes on disk, and those that live partial blobs lack.
func (s *Store) kept() (kept, growth blob.ByteCount) {
	s.mu.Lock()
	live := make([]*Partial, 0, len(s.live))
	for _, p := range s.live {
		live = append(live, p)
	}
	for _, e := range s.blobs {
		kept += e.size
	}
	for _, p := range s.idle {
		kept += p.held
	}
	s.mu.Unlock()
	for _, p := range live {
		held := p.heldBytes()
		kept += held
		growth += p.geometry.Size() - held
	}
	return kept, growth
}
