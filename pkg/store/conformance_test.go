package store_test

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/store"
)

// A bench is where one conformance test runs: reopen closes the store and opens it anew.
type bench struct {
	*store.Store
	t      *testing.T
	reopen func()
	disk   bool
}

func TestConformanceOnDisk(t *testing.T) {
	conformance(t, func(*testing.T) store.FS { return nil })
}

func TestConformanceInMemory(t *testing.T) {
	conformance(t, func(*testing.T) store.FS { return newCrashFS(1) })
}

// conformance holds for every file system.
func conformance(t *testing.T, fsys func(t *testing.T) store.FS) {
	t.Helper()
	tests := []struct {
		name string
		run  func(b *bench)
	}{
		{"whole life", wholeLife},
		{"chunk refused", chunkRefused},
		{"tail first", tailFirst},
		{"links out of order", linksOutOfOrder},
		{"prefix meets suffix", prefixMeetsSuffix},
		{"false chain", falseChain},
		{"link over replaced bytes", linkOverReplacedBytes},
		{"known states outlive bytes", knownStatesOutliveBytes},
		{"whole blob of lies", wholeBlobOfLies},
		{"clients get registry bytes only", clientsGetRegistryBytes},
		{"reader stops when bytes change", readerStops},
		{"resume", resume},
		{"resume under another size", resumeOtherSize},
		{"proven is final", provenIsFinal},
		{"small and empty blobs", smallBlobs},
		{"bytes", smallBytes},
		{"list and delete", listAndDelete},
		{"chain is rebuilt", chainRebuilt},
		{"closed", closedStore},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg := store.Config{Dir: filepath.Join(t.TempDir(), "store"), FS: fsys(t)}
			b := &bench{t: t, disk: cfg.FS == nil}
			open := func() {
				s, err := store.Open(cfg)
				if err != nil {
					t.Fatal(err)
				}
				b.Store = s
			}
			b.reopen = func() {
				if err := b.Close(); err != nil {
					t.Fatal(err)
				}
				open()
			}
			open()
			t.Cleanup(func() {
				if err := b.Close(); err != nil {
					t.Error(err)
				}
			})
			test.run(b)
		})
	}
}

func wholeLife(b *bench) {
	t := b.t
	of := newSample(t, 1, fourChunks)
	p := begin(t, b.Store, of)
	for _, i := range []blob.ChunkIndex{2, 0, 3, 1} {
		write(t, p, i, store.FromRegistry, of.chunk(i))
	}
	if err := p.Prove(); !errors.Is(err, store.ErrNotProven) {
		t.Fatalf("proven without links: %v", err)
	}
	if _, err := p.File(); !errors.Is(err, store.ErrNotProven) {
		t.Fatalf("file before the proof: %v", err)
	}
	next, verified, mismatch, err := p.HashPrefix(0, 1)
	if next != 2 || len(verified) > 0 || mismatch || err != nil {
		t.Fatal(next, verified, mismatch, err)
	}
	next, verified, mismatch, err = p.HashPrefix(2, 3)
	if next != 4 || len(verified) != 4 || mismatch || err != nil {
		t.Fatal(next, verified, mismatch, err)
	}
	if err := p.Commit(); !errors.Is(err, store.ErrNotProven) {
		t.Fatalf("commit before the proof: %v", err)
	}
	prove(t, p)
	if c, err := p.Chain(); err != nil || !slices.Equal(c.Inner(), of.chain.Inner()) {
		t.Fatalf("chain: %v", err)
	}
	for range 2 {
		if err := p.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	got := make([]byte, len(of.content))
	if n, err := p.ReadAt(got, 0); n != len(got) || err != nil || !bytes.Equal(got, of.content) {
		t.Fatalf("read %d through the committed partial: %v", n, err)
	}
	for range 2 {
		if !bytes.Equal(readProven(t, b.Store, of), of.content) {
			t.Fatal("wrong bytes")
		}
		if _, err := b.Partial(of.digest, of.geometry.Size()); !errors.Is(err, store.ErrProven) {
			t.Fatalf("partial of a proven blob: %v", err)
		}
		b.reopen()
	}
	if st := b.Stats(); st != (store.Stats{Blobs: 1, BlobBytes: fourChunks}) {
		t.Fatalf("%+v", st)
	}
}

func chunkRefused(b *bench) {
	t := b.t
	of := newSample(t, 1, fourChunks)
	p := begin(t, b.Store, of)
	whole := of.chunk(1)
	broken := errors.New("cable cut")
	for name, test := range map[string]struct {
		r    io.Reader
		want error
	}{
		"short":      {bytes.NewReader(whole[:len(whole)-1]), store.ErrLength},
		"long":       {io.MultiReader(bytes.NewReader(whole), strings.NewReader("x")), store.ErrLength},
		"empty":      {strings.NewReader(""), store.ErrLength},
		"broken":     {io.MultiReader(bytes.NewReader(whole[:1000]), iotest.ErrReader(broken)), broken},
		"broken end": {io.MultiReader(bytes.NewReader(whole), iotest.ErrReader(broken)), broken},
	} {
		if err := p.WriteChunk(1, store.FromRegistry, test.r); !errors.Is(err, test.want) || errors.Is(err, store.ErrDisk) {
			t.Errorf("%s chunk: %v", name, err)
		}
		if _, err := p.Replace(1, test.r); err == nil {
			t.Errorf("%s chunk replaced", name)
		}
		if r, v, q := p.States(); r.Count()+v.Count()+q.Count() != 0 {
			t.Errorf("%s chunk counts", name)
		}
	}
	for _, i := range []blob.ChunkIndex{-1, 4} {
		_, replaceErr := p.Replace(i, nil)
		_, readErr := p.ReadServable(i)
		_, linkErr := p.CheckLink(i, of.chain)
		_, _, _, hashErr := p.HashPrefix(0, i)
		for _, err := range []error{p.WriteChunk(i, store.FromPeer, nil), replaceErr, readErr, linkErr, hashErr, p.Drop(i)} {
			if !errors.Is(err, store.ErrChunk) {
				t.Errorf("chunk %d: %v", i, err)
			}
		}
	}
	if err := p.WriteChunk(0, 0, nil); err == nil {
		t.Error("chunk without origin")
	}
	write(t, p, 1, store.FromPeer, of.lie(1, 0))
	if err := p.WriteChunk(1, store.FromRegistry, nil); !errors.Is(err, store.ErrHeld) {
		t.Errorf("held chunk: %v", err)
	}
	reader, writer := io.Pipe()
	done := make(chan error)
	go func() { done <- p.WriteChunk(0, store.FromPeer, reader) }()
	if _, err := writer.Write(of.chunk(0)[:10]); err != nil {
		t.Fatal(err)
	}
	if err := p.WriteChunk(0, store.FromRegistry, nil); !errors.Is(err, store.ErrHeld) {
		t.Errorf("chunk being written: %v", err)
	}
	if err := p.Drop(0); !errors.Is(err, store.ErrHeld) {
		t.Errorf("drop of a chunk being written: %v", err)
	}
	if _, err := b.Partial(of.digest, of.geometry.Size()); !errors.Is(err, store.ErrLive) {
		t.Errorf("second partial: %v", err)
	}
	_ = writer.CloseWithError(broken)
	if err := <-done; !errors.Is(err, broken) {
		t.Error(err)
	}
	write(t, p, 0, store.FromRegistry, of.chunk(0))
}
