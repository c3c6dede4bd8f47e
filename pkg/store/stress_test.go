package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
	"github.com/shoal-project/shoal/pkg/store"
)

// crowd runs each task rounds times, in a goroutine with its own randomness.
func crowd(t *testing.T, rounds int, tasks ...func(rng *rand.Rand) error) {
	t.Helper()
	var wg sync.WaitGroup
	errs := make(chan error, len(tasks))
	for n, task := range tasks {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(n), 5))
			for range rounds {
				if err := task(rng); err != nil {
					errs <- fmt.Errorf("task %d: %w", n, err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		t.Error(err)
	}
}

// expected returns nil for errors that others' work explains.
func expected(err error, those ...error) error {
	for _, e := range those {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}

// Liars, auditors, provers and readers work on one partial blob at once: what is read is
// always the truth, and what is proven has the digest.
func TestCrowdOnOnePartial(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	for round := range 3 {
		s := open(t, store.Config{Dir: dir})
		of := newSample(t, uint64(round), 5*blob.MinChunk+333)
		n := int(of.geometry.Chunks())
		chains := []chain.Chain{
			of.chain, of.chain,
			chainOver(t, of, func(i blob.ChunkIndex) []byte { return of.lie(i, 0) }, chain.IV()),
			newChain(t, of, of.chain, func(inner []chain.State) { inner[2] = chain.State{2} }),
		}
		p := begin(t, s, of)
		pick := func(rng *rand.Rand) blob.ChunkIndex { return blob.ChunkIndex(rng.IntN(n)) }
		peer := func(rng *rand.Rand) error {
			i := pick(rng)
			content := of.chunk(i)
			if rng.IntN(3) == 0 {
				content = of.lie(i, 0)
			}
			return expected(p.WriteChunk(i, store.FromPeer, bytes.NewReader(content)), store.ErrHeld, store.ErrProven)
		}
		link := func(rng *rand.Rand) error {
			i := pick(rng)
			_, err := p.CheckLink(i, chains[rng.IntN(len(chains))])
			if broken := (*store.LinkError)(nil); errors.As(err, &broken) {
				return nil
			}
			return expected(err, store.ErrNotHeld)
		}
		serve := func(rng *rand.Rand) error {
			i := pick(rng)
			body, err := p.ReadServable(i)
			if err != nil {
				return expected(err, store.ErrNotServable)
			}
			got, err := io.ReadAll(body)
			if err == nil && !bytes.Equal(got, of.chunk(i)) || !bytes.HasPrefix(of.chunk(i), got) {
				return fmt.Errorf("chunk %d is served wrong", i)
			}
			return expected(err, store.ErrNotServable)
		}
		client := func(rng *rand.Rand) error {
			off := rng.Int64N(int64(of.geometry.Size()))
			got := make([]byte, rng.IntN(int(2*blob.MinChunk)))
			m, err := p.ReadAt(got, off)
			if !bytes.HasPrefix(of.content[off:], got[:m]) {
				return fmt.Errorf("wrong bytes at %d", off)
			}
			p.AvailableFrom(blob.ByteCount(off))
			return expected(err, store.ErrNotServable, io.EOF)
		}
		audit := func(rng *rand.Rand) error {
			i := pick(rng)
			_, err := p.Replace(i, bytes.NewReader(of.chunk(i)))
			return expected(err, store.ErrHeld, store.ErrProven)
		}
		drop := func(rng *rand.Rand) error {
			if rng.IntN(8) == 0 {
				p.DropLinks()
			}
			return expected(p.Drop(pick(rng)), store.ErrHeld, store.ErrProven)
		}
		proveIt := func(rng *rand.Rand) error {
			if _, _, _, err := p.HashPrefix(0, pick(rng)); err != nil {
				return err
			}
			if rng.IntN(4) == 0 && p.Prove() == nil {
				return p.Commit()
			}
			return nil
		}
		look := func(*rand.Rand) error {
			p.States()
			s.List()
			s.Stats()
			return nil
		}
		crowd(t, crowdRounds, peer, peer, peer, link, link, serve, serve, client, audit, drop, proveIt, look)
		for i := range of.geometry.Chunks() {
			if _, err := p.Replace(i, bytes.NewReader(of.chunk(i))); expected(err, store.ErrProven) != nil {
				t.Fatal(err)
			}
		}
		prove(t, p)
		crowd(t, crowdRounds/10, peer, link, serve, client, audit, drop, func(*rand.Rand) error { return p.Commit() })
		if !bytes.Equal(readProven(t, s, of), of.content) {
			t.Fatal("proven blob is wrong")
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Blobs come and go under readers, a limit that is too small for all, and deletions: what
// is read is right or not there, and the store knows what it holds.
func TestCrowdOnOneStore(t *testing.T) {
	s := open(t, store.Config{Dir: filepath.Join(t.TempDir(), "store"), MaxBytes: 5 * blob.MinChunk})
	samples := make([]sample, 8)
	for i := range samples {
		samples[i] = newSample(t, uint64(i), blob.MinChunk+blob.ByteCount(i))
	}
	pick := func(rng *rand.Rand) sample { return samples[rng.IntN(len(samples))] }
	download := func(rng *rand.Rand) error {
		of := pick(rng)
		p, err := s.Partial(of.digest, of.geometry.Size())
		if err != nil {
			return expected(err, store.ErrLive, store.ErrProven, store.ErrDiskFull)
		}
		for i := range of.geometry.Chunks() {
			if err := p.WriteChunk(i, store.FromRegistry, bytes.NewReader(of.chunk(i))); expected(err, store.ErrHeld) != nil {
				return err
			}
			if rng.IntN(5) == 0 {
				return p.Close()
			}
		}
		if _, _, mismatch, err := p.HashPrefix(0, of.geometry.Last()); err != nil || mismatch {
			return fmt.Errorf("mismatch %v: %w", mismatch, err)
		}
		return errors.Join(p.Prove(), p.Commit(), p.Close())
	}
	read := func(rng *rand.Rand) error {
		of := pick(rng)
		h, err := s.Get(of.digest)
		if err != nil {
			return expected(err, store.ErrNotFound)
		}
		f, err := h.File()
		if err != nil {
			return err
		}
		got, err := io.ReadAll(f)
		if err != nil || !bytes.Equal(got, of.content) {
			return fmt.Errorf("wrong bytes: %w", err)
		}
		_, err = h.Chain()
		return errors.Join(err, f.Close(), h.Close())
	}
	put := func(rng *rand.Rand) error {
		of := pick(rng)
		return s.PutBytes(of.digest, of.content)
	}
	remove := func(rng *rand.Rand) error {
		s.Trim()
		return expected(s.Delete(pick(rng).digest), store.ErrNotFound, store.ErrLive)
	}
	crowd(t, crowdRounds, download, download, download, read, read, put, remove)
	s.Trim()
	var blobs, partials int
	for _, l := range s.List() {
		if l.InUse {
			t.Errorf("%s is in use", l.Digest.Short())
		}
		if !l.Proven {
			partials++
			continue
		}
		blobs++
		if _, err := s.GetBytes(l.Digest, store.MaxBytesBlob); err != nil {
			t.Error(err)
		}
	}
	st := s.Stats()
	if st.Blobs != blobs || st.Partials != partials || st.BlobBytes+st.PartialBytes > 5*blob.MinChunk {
		t.Errorf("%+v, but %d blobs and %d partial ones", st, blobs, partials)
	}
}

// Close waits for a chunk that is being written, and then the chunk is there.
func TestCloseWaits(t *testing.T) {
	fsys := newCrashFS(1)
	s := open(t, store.Config{FS: fsys})
	of := newSample(t, 1, fourChunks)
	p := begin(t, s, of)
	r, w := io.Pipe()
	written, closed := make(chan error, 1), make(chan error, 1)
	go func() { written <- p.WriteChunk(1, store.FromPeer, r) }()
	if _, err := w.Write(of.chunk(1)[:1]); err != nil {
		t.Fatal(err)
	}
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		t.Fatalf("closed under a write: %v", err)
	default:
	}
	if _, err := w.Write(of.chunk(1)[1:]); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	if err := errors.Join(<-written, <-closed); err != nil {
		t.Fatal(err)
	}
	p = begin(t, open(t, store.Config{FS: fsys}), of)
	if _, _, q := p.States(); !q.Has(1) {
		t.Fatal("chunk lost")
	}
}
