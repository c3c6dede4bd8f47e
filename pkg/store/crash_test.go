package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/store"
)

// A run is one life of a store, as far as it was told that things are done.
type run struct {
	committed bool
	manifest  bool
	held      map[blob.ChunkIndex]bool // chunks of the first blob; empty once committed
	begun     bool                     // chunk 0 of the second blob is held
}

var scene = struct{ manifest []byte }{manifest: []byte(`{"schemaVersion":2}`)}

// live does one of everything, and goes on after errors as the engine would.
func live(fsys *crashFS, first, second sample, manifest blob.Digest) (r run) {
	r.held = map[blob.ChunkIndex]bool{}
	s, err := store.Open(store.Config{Dir: "/store", FS: fsys})
	if err != nil {
		return r
	}
	defer func() { _ = s.Close() }()
	r.manifest = s.PutBytes(manifest, scene.manifest) == nil
	if p, err := s.Partial(second.digest, second.geometry.Size()); err == nil {
		r.begun = p.WriteChunk(0, store.FromRegistry, bytes.NewReader(second.chunk(0))) == nil
		_ = p.Close()
	}
	p, err := s.Partial(first.digest, first.geometry.Size())
	if err != nil {
		return r
	}
	defer func() { _ = p.Close() }()
	r.held[0] = p.WriteChunk(0, store.FromRegistry, bytes.NewReader(first.chunk(0))) == nil
	r.held[1] = p.WriteChunk(1, store.FromPeer, bytes.NewReader(first.lie(1, 0))) == nil
	r.held[2] = p.WriteChunk(2, store.FromPeer, bytes.NewReader(first.chunk(2))) == nil
	r.held[3] = p.WriteChunk(3, store.FromRegistry, bytes.NewReader(first.chunk(3))) == nil
	_, _, _, _ = p.HashPrefix(0, first.geometry.Last())
	if _, err := p.Replace(1, bytes.NewReader(first.chunk(1))); errors.Is(err, store.ErrDisk) {
		delete(r.held, 1)
	} else if err == nil {
		r.held[1] = true
	}
	if p.Drop(2) == nil {
		r.held[2] = p.WriteChunk(2, store.FromRegistry, bytes.NewReader(first.chunk(2))) == nil
	} else {
		delete(r.held, 2)
	}
	_, _, _, _ = p.HashPrefix(0, first.geometry.Last())
	if p.Prove() != nil {
		return r
	}
	r.committed = p.Commit() == nil
	if !r.committed { // once more, as the disk may have come back
		r.committed = p.Commit() == nil
	}
	if h, err := s.Get(first.digest); err == nil {
		_, _ = h.Chain()
		_ = h.Close()
	} else if !errors.Is(err, errCrashed) {
		r.committed, r.held = false, nil // a blob that cannot be read is dropped
	}
	return r
}

// check holds what is on disk after a restart against the promises.
func check(t *testing.T, fsys *crashFS, first, second sample, manifest blob.Digest, r run, processOnly bool) {
	t.Helper()
	s, err := store.Open(store.Config{Dir: "/store", FS: fsys})
	if err != nil {
		t.Fatalf("open again: %v", err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	if got, err := s.GetBytes(manifest, blob.MiB); err == nil && !bytes.Equal(got, scene.manifest) || err != nil && r.manifest {
		t.Errorf("manifest %q, err %v", got, err)
	}
	h, err := s.Get(first.digest)
	if err == nil {
		got := make([]byte, h.Size())
		if _, err := h.ReadAt(got, 0); err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(got, first.content) {
			t.Errorf("proven blob is wrong: %v", err)
		}
		if c, err := h.Chain(); err != nil || fmt.Sprint(c) != fmt.Sprint(first.chain) {
			t.Errorf("chain of the proven blob is wrong: %v", err)
		}
		_ = h.Close()
	} else if r.committed {
		t.Errorf("committed blob is gone: %v", err)
	}
	if err != nil {
		checkPartial(t, s, first, r.held, processOnly)
		complete(t, s, first)
	}
	checkPartial(t, s, second, map[blob.ChunkIndex]bool{0: r.begun}, processOnly)
	complete(t, s, second)
	if !bytes.Equal(readProven(t, s, first), first.content) || !bytes.Equal(readProven(t, s, second), second.content) {
		t.Error("completed blob is wrong")
	}
}

func checkPartial(t *testing.T, s *store.Store, of sample, held map[blob.ChunkIndex]bool, processOnly bool) {
	t.Helper()
	p := begin(t, s, of)
	defer func() { _ = p.Close() }()
	reg, v, q := p.States()
	if v.Count() > 0 {
		t.Error("verified chunks without a link")
	}
	for i := range of.geometry.Chunks() {
		body, err := p.ReadServable(i)
		if !reg.Has(i) {
			if err == nil {
				t.Errorf("chunk %d is servable", i)
			}
		} else if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, of.chunk(i)) {
			t.Errorf("R chunk %d is wrong: %v", i, err)
		}
		if held[i] && processOnly && !reg.Has(i) && !q.Has(i) {
			t.Errorf("chunk %d must be fetched again", i)
		}
	}
}

// Whatever call crashes or fails, nothing wrong is proven or servable afterwards, nothing
// that was confirmed is lost, and the blobs can be completed.
func TestEveryStepMayFail(t *testing.T) {
	first, second := newSample(t, 1, fourChunks), newSample(t, 2, blob.MinChunk+1000)
	manifest := digestOf(scene.manifest)
	clean := newCrashFS(0)
	if r := live(clean, first, second, manifest); !r.committed || !r.manifest || !r.begun {
		t.Fatalf("clean run: %+v", r)
	}
	steps := clean.calls
	if steps < 60 {
		t.Fatalf("only %d calls counted", steps)
	}
	kinds := []struct {
		name        string
		processOnly bool
		arm         func(c *crashFS, k int)
	}{
		{"killed", true, func(c *crashFS, k int) { c.crashAt = k }},
		{"power cut", false, func(c *crashFS, k int) { c.crashAt = k }},
		{"another power cut", false, func(c *crashFS, k int) { c.crashAt = k }},
		{"one error", true, func(c *crashFS, k int) { c.failAt, c.failFor, c.failure = k, 1, syscall.EIO }},
		{"out of descriptors", true, func(c *crashFS, k int) { c.failAt, c.failFor, c.failure = k, 3, syscall.EMFILE }},
		{"disk full", true, func(c *crashFS, k int) { c.failAt, c.failFor, c.failure = k, 40, syscall.ENOSPC }},
		{"error, then power cut", false, func(c *crashFS, k int) {
			c.failAt, c.failFor, c.failure, c.crashAt = k, 2, syscall.EIO, k+9
		}},
	}
	for at, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			for k := 1 + at%raceStride; k <= steps; k += raceStride {
				fsys := newCrashFS(uint64(k*len(kinds) + at))
				kind.arm(fsys, k)
				r := live(fsys, first, second, manifest)
				fsys.restart(kind.processOnly)
				check(t, fsys, first, second, manifest, r, kind.processOnly)
				if t.Failed() {
					t.Fatalf("at call %d of %d, after %+v, with\n%s", k, steps, r, fsys.names())
				}
			}
		})
	}
}

// A second crash may come while the first one is cleaned up after.
func TestCrashDuringRecovery(t *testing.T) {
	first, second := newSample(t, 1, fourChunks), newSample(t, 2, blob.MinChunk+1000)
	manifest := digestOf(scene.manifest)
	for seed := range uint64(120 / raceStride) {
		fsys := newCrashFS(seed)
		fsys.crashAt = 20 + int(seed)%60
		r := live(fsys, first, second, manifest)
		fsys.restart(false)
		fsys.crashAt = 1 + int(seed*7)%40
		again := live(fsys, first, second, manifest)
		fsys.restart(false)
		r.committed, r.manifest = r.committed || again.committed, r.manifest || again.manifest
		check(t, fsys, first, second, manifest, r, false)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
