package store_test

import (
	"bytes"
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/store"
)

// A clock moves when told.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func open(tb testing.TB, cfg store.Config) *store.Store {
	tb.Helper()
	if cfg.Dir == "" {
		cfg.Dir = "/store"
	}
	s, err := store.Open(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	return s
}

func has(s *store.Store, of sample) bool {
	return slices.ContainsFunc(s.List(), func(l store.Layer) bool { return l.Digest == of.digest })
}

const big = blob.MinChunk

func TestLeastRecentlyUsedGoesFirst(t *testing.T) {
	now := &clock{now: time.Now()}
	fsys := newCrashFS(1)
	cfg := store.Config{FS: fsys, MaxBytes: 4 * big, Now: now.Now}
	s := open(t, cfg)
	blobs := make([]sample, 0, 3)
	for i := range uint64(3) {
		blobs = append(blobs, newSample(t, i, big))
		complete(t, s, blobs[i])
		now.advance(time.Hour)
	}
	readProven(t, s, blobs[0])
	if err := s.Close(); err != nil { // the last use survives
		t.Fatal(err)
	}
	s = open(t, cfg)
	now.advance(time.Hour)
	held, err := s.Get(blobs[1].digest) // the oldest, but open
	if err != nil {
		t.Fatal(err)
	}
	next := newSample(t, 10, 2*big)
	complete(t, s, next)
	if !has(s, blobs[0]) || !has(s, blobs[1]) || has(s, blobs[2]) || !has(s, next) {
		t.Fatalf("kept %+v", s.List())
	}
	if _, err := s.Partial(newSample(t, 11, 4*big).digest, 4*big); !errors.Is(err, store.ErrDiskFull) || !errors.Is(err, store.ErrDisk) {
		t.Fatalf("more than can be freed: %v", err)
	}
	if !has(s, blobs[0]) || !has(s, blobs[1]) || !has(s, next) {
		t.Fatal("evicted in vain")
	}
	_ = held.Close()
	whole := newSample(t, 12, 4*big)
	complete(t, s, whole)
	if st := s.Stats(); st.Blobs != 1 || st.BlobBytes != 4*big {
		t.Fatalf("%+v", st)
	}
	if _, err := s.Partial(newSample(t, 13, 5*big).digest, 5*big); !errors.Is(err, store.ErrDiskFull) {
		t.Fatalf("more than the limit: %v", err)
	}
	if !has(s, whole) {
		t.Fatal("evicted in vain")
	}
}

func TestPartialBlobsInUseCountInFull(t *testing.T) {
	s := open(t, store.Config{FS: newCrashFS(1), MaxBytes: 4 * big})
	one, two := newSample(t, 1, 3*big), newSample(t, 2, 2*big)
	p := begin(t, s, one)
	if _, err := s.Partial(two.digest, 2*big); !errors.Is(err, store.ErrDiskFull) {
		t.Fatal(err)
	}
	write(t, p, 0, store.FromRegistry, one.chunk(0))
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	q := begin(t, s, two) // an idle one counts as what it holds
	if !has(s, one) {
		t.Fatal("evicted without need")
	}
	if _, err := s.Partial(one.digest, 3*big); !errors.Is(err, store.ErrDiskFull) {
		t.Fatal(err)
	}
	if !has(s, one) || s.Stats().PartialBytes != big {
		t.Fatal("a partial blob that could not be gone on with is lost")
	}
	_ = q.Close()
	p = begin(t, s, one)
	if r, _, _ := p.States(); r.Count() != 1 {
		t.Fatal("its chunk is lost")
	}
}

func TestATenthOfTheDiskStaysFree(t *testing.T) {
	fsys := newCrashFS(1)
	fsys.space = 10*blob.GiB + 3*big // of 100 GiB
	s := open(t, store.Config{FS: fsys})
	kept := newSample(t, 1, 2*big)
	complete(t, s, kept)
	fsys.space = 10*blob.GiB + big
	complete(t, s, newSample(t, 2, big))
	if !has(s, kept) {
		t.Fatal("evicted without need")
	}
	complete(t, s, newSample(t, 3, 2*big))
	if has(s, kept) {
		t.Fatal("not evicted")
	}
	fsys.space = blob.GiB
	if _, err := s.Partial(newSample(t, 4, big).digest, big); !errors.Is(err, store.ErrDiskFull) {
		t.Fatal(err)
	}
	s.Trim()
	if st := s.Stats(); st.Blobs != 0 {
		t.Fatalf("%+v", st)
	}
}

func TestAbandonedPartialBlobsGo(t *testing.T) {
	now := &clock{now: time.Now()}
	fsys := newCrashFS(1)
	s := open(t, store.Config{FS: fsys, Now: now.Now})
	of, proven := newSample(t, 1, fourChunks), newSample(t, 2, big)
	complete(t, s, proven)
	p := begin(t, s, of)
	write(t, p, 0, store.FromRegistry, of.chunk(0))
	now.advance(25 * time.Hour)
	s.Trim()
	_ = p.Close()
	now.advance(23 * time.Hour)
	s.Trim()
	if !has(s, of) {
		t.Fatal("gone before its time")
	}
	now.advance(2 * time.Hour)
	s.Trim()
	if has(s, of) || !has(s, proven) {
		t.Fatalf("kept %+v", s.List())
	}
	if names := fsys.names(); bytes.Contains([]byte(names), []byte("partial")) {
		t.Fatalf("left behind:\n%s", names)
	}
	p = begin(t, s, of)
	write(t, p, 0, store.FromRegistry, of.chunk(0))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	now.advance(49 * time.Hour) // the file's time is of another clock
	if s = open(t, store.Config{FS: fsys, Now: now.Now}); has(s, of) {
		t.Fatal("kept over a restart")
	}
}

func TestFolderIsForOneDaemon(t *testing.T) {
	cfg := store.Config{Dir: filepath.Join(t.TempDir(), "store")}
	s := open(t, cfg)
	if _, err := store.Open(cfg); !errors.Is(err, store.ErrLocked) {
		t.Fatalf("opened twice: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, cfg)
}

func TestConfigIsValidated(t *testing.T) {
	for what, cfg := range map[string]store.Config{
		"no folder":       {},
		"relative folder": {Dir: "store"},
		"negative size":   {Dir: "/store", MaxBytes: -1},
		"negative time":   {Dir: "/store", AbandonAfter: -1},
	} {
		if _, err := store.Open(cfg); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}
