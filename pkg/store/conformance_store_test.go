package store_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
	"github.com/shoal-project/shoal/pkg/store"
)

func clientsGetRegistryBytes(b *bench) {
	t := b.t
	of := newSample(t, 1, fourChunks)
	p := begin(t, b.Store, of)
	write(t, p, 3, store.FromPeer, of.chunk(3))
	if _, err := p.CheckLink(3, of.chain); err != nil {
		t.Fatal(err)
	}
	write(t, p, 0, store.FromRegistry, of.chunk(0))
	write(t, p, 1, store.FromRegistry, of.chunk(1))
	write(t, p, 2, store.FromPeer, of.chunk(2))
	c := of.geometry.ChunkSize()
	for off, want := range map[blob.ByteCount]blob.ByteCount{
		-1: 0, 0: 2 * c, 5: 2*c - 5, c: c, 2*c - 1: 1, 2 * c: 0, 3 * c: 0, fourChunks - 1: 0, fourChunks: 0, fourChunks + 1: 0,
	} {
		if got := p.AvailableFrom(off); got != want {
			t.Errorf("available from %d: %d, want %d", off, got, want)
		}
	}
	got := make([]byte, 100)
	n, err := p.ReadAt(got, int64(2*c)-30)
	if n != 30 || !errors.Is(err, store.ErrNotServable) || !bytes.Equal(got[:30], of.content[2*c-30:2*c]) {
		t.Errorf("across the end: %d, %v", n, err)
	}
	for _, off := range []int64{-1, int64(2 * c), int64(3 * c)} {
		if n, err := p.ReadAt(got, off); n != 0 || !errors.Is(err, store.ErrNotServable) {
			t.Errorf("at %d: %d, %v", off, n, err)
		}
	}
	prove(t, p)
	if got := p.AvailableFrom(7); got != fourChunks-7 {
		t.Errorf("available once proven: %d", got)
	}
	if n, err := p.ReadAt(got, int64(fourChunks-40)); n != 40 || !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %d, %v", n, err)
	}
	if n, err := p.ReadAt(got, int64(fourChunks+40)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("behind the end: %d, %v", n, err)
	}
}

func readerStops(b *bench) {
	t := b.t
	of := newSample(t, 1, fourChunks)
	p := begin(t, b.Store, of)
	for _, change := range []func() error{
		func() error { return p.Drop(1) },
		func() error { _, err := p.Replace(1, bytes.NewReader(of.lie(1, 0))); return err },
		p.Close,
	} {
		_ = p.Drop(1)
		write(t, p, 1, store.FromRegistry, of.chunk(1))
		body, err := p.ReadServable(1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(body, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if n, err := body.Read(make([]byte, 1000)); n != 0 || !errors.Is(err, store.ErrNotServable) && !errors.Is(err, store.ErrClosed) {
			t.Fatal(n, err)
		}
	}
}

func resume(b *bench) {
	t := b.t
	of := newSample(t, 1, fourChunks)
	p := begin(t, b.Store, of)
	write(t, p, 0, store.FromRegistry, of.chunk(0))
	write(t, p, 1, store.FromPeer, of.lie(1, 0))
	write(t, p, 3, store.FromPeer, of.chunk(3))
	if _, err := p.CheckLink(3, of.chain); err != nil {
		t.Fatal(err)
	}
	if _, v, _ := p.States(); v.Count() != 1 {
		t.Fatal("chunk 3 is not verified")
	}
	b.reopen()
	if err := p.WriteChunk(2, store.FromPeer, nil); !errors.Is(err, store.ErrClosed) {
		t.Fatal(err)
	}
	if st := b.Stats(); st.Partials != 1 || st.PartialBytes != 2*blob.MinChunk+1000 {
		t.Fatalf("%+v", st)
	}
	p = begin(t, b.Store, of)
	r, v, q := p.States()
	if !slices.Equal(set(r), []blob.ChunkIndex{0}) || v.Count() != 0 || !slices.Equal(set(q), []blob.ChunkIndex{1, 3}) {
		t.Fatal(set(r), set(v), set(q))
	}
	body, err := p.ReadServable(0)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, of.chunk(0)) {
		t.Fatal(err)
	}
	if verified, err := p.CheckLink(3, of.chain); len(verified) != 1 || err != nil {
		t.Fatal(verified, err)
	}
	if _, err := p.CheckLink(1, of.chain); err == nil {
		t.Fatal("the lie was forgotten")
	}
}

func resumeOtherSize(b *bench) {
	t := b.t
	of := newSample(t, 1, fourChunks)
	p := begin(t, b.Store, of)
	write(t, p, 0, store.FromRegistry, of.chunk(0))
	b.reopen()
	p, err := b.Partial(of.digest, 2*fourChunks)
	if err != nil {
		t.Fatal(err)
	}
	if r, v, q := p.States(); r.Count()+v.Count()+q.Count() != 0 || r.Len() != 7 {
		t.Fatal("chunks of another size count")
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if st := b.Stats(); st.Partials != 0 {
		t.Fatalf("%+v", st)
	}
	complete(t, b.Store, of)
	for _, size := range []blob.ByteCount{-1, blob.MaxSize + 1} {
		if _, err := b.Partial(of.digest, size); !errors.Is(err, blob.ErrSize) {
			t.Fatal(err)
		}
	}
}

func provenIsFinal(b *bench) {
	t := b.t
	of := newSample(t, 1, fourChunks)
	p := begin(t, b.Store, of)
	for i := range of.geometry.Chunks() {
		write(t, p, i, store.FromPeer, of.chunk(i))
	}
	prove(t, p)
	if err := p.Drop(0); !errors.Is(err, store.ErrProven) {
		t.Fatal(err)
	}
	if _, err := p.Replace(0, bytes.NewReader(of.lie(0, 0))); !errors.Is(err, store.ErrProven) {
		t.Fatal(err)
	}
	if err := p.WriteChunk(0, store.FromPeer, bytes.NewReader(of.lie(0, 0))); !errors.Is(err, store.ErrHeld) {
		t.Fatal(err)
	}
	if _, v, _ := p.States(); !v.Full() {
		t.Fatal("chunks of a proven blob are not verified")
	}
	if b.disk {
		f, err := p.File()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		if err := p.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := b.Delete(of.digest); err != nil {
			t.Fatal(err)
		}
		again, err := p.File() // its name is gone
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = again.Close() }()
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		for _, f := range []*os.File{f, again} {
			if got, err := io.ReadAll(f); err != nil || !bytes.Equal(got, of.content) {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte{1}, 0); err == nil {
				t.Fatal("a proven file can be written")
			}
		}
	}
}

func smallBlobs(b *bench) {
	t := b.t
	for seed, size := range []blob.ByteCount{0, 1, 64, blob.MinChunk - 1, blob.MinChunk, blob.MinChunk + 1} {
		of := newSample(t, uint64(seed), size)
		p := begin(t, b.Store, of)
		write(t, p, 0, store.FromPeer, of.chunk(0))
		_ = p.Close()
		b.reopen()
		p = begin(t, b.Store, of)
		if _, _, q := p.States(); q.Count() != 1 {
			t.Fatalf("size %d: not resumed", size)
		}
		_ = p.Close()
		complete(t, b.Store, of)
		if !bytes.Equal(readProven(t, b.Store, of), of.content) {
			t.Fatalf("size %d: wrong bytes", size)
		}
		h, err := b.Get(of.digest)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := h.Chain(); err != nil || !slices.Equal(c.Inner(), of.chain.Inner()) {
			t.Fatalf("size %d: chain %v", size, err)
		}
		if h.Digest() != of.digest || h.Geometry() != of.geometry {
			t.Fatal("handle of another blob")
		}
		_ = h.Close()
	}
}

func smallBytes(b *bench) {
	t := b.t
	content := []byte(`{"mediaType":"application/vnd.oci.image.index.v1+json"}`)
	d := digestOf(content)
	if _, err := b.GetBytes(d, 100); !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	if err := b.PutBytes(digestOf(nil), content); !errors.Is(err, store.ErrMismatch) {
		t.Fatal(err)
	}
	if err := b.PutBytes(d, make([]byte, store.MaxBytesBlob+1)); !errors.Is(err, store.ErrTooLarge) {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.PutBytes(d, content); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if got, err := b.GetBytes(d, 100); err != nil || !bytes.Equal(got, content) {
			t.Fatal(err)
		}
		b.reopen()
	}
	if _, err := b.GetBytes(d, 10); !errors.Is(err, store.ErrTooLarge) {
		t.Fatal(err)
	}
	if st := b.Stats(); st.Blobs != 1 || st.BlobBytes != blob.ByteCount(len(content)) {
		t.Fatalf("%+v", st)
	}
}

func listAndDelete(b *bench) {
	t := b.t
	proven, partial, live := newSample(t, 1, fourChunks), newSample(t, 2, fourChunks), newSample(t, 3, fourChunks)
	complete(t, b.Store, proven)
	p := begin(t, b.Store, partial)
	write(t, p, 0, store.FromRegistry, partial.chunk(0))
	write(t, p, 1, store.FromPeer, partial.chunk(1))
	write(t, p, 2, store.FromPeer, partial.chunk(2))
	_ = p.Close()
	p = begin(t, b.Store, live)
	write(t, p, 3, store.FromPeer, live.chunk(3))
	if _, err := p.CheckLink(3, live.chain); err != nil {
		t.Fatal(err)
	}
	layers := map[blob.Digest]store.Layer{}
	for _, l := range b.List() {
		if l.LastUsed.IsZero() {
			t.Error("never used")
		}
		l.LastUsed = l.LastUsed.Truncate(1 << 62)
		layers[l.Digest] = l
	}
	for d, want := range map[blob.Digest]store.Layer{
		proven.digest:  {Size: fourChunks, Proven: true},
		partial.digest: {Size: fourChunks, Registry: 1, Quarantined: 2},
		live.digest:    {Size: fourChunks, Verified: 1, InUse: true},
	} {
		got := layers[d]
		want.Digest, want.LastUsed = d, got.LastUsed
		if got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	if err := b.Delete(live.digest); !errors.Is(err, store.ErrLive) {
		t.Error(err)
	}
	h, err := b.Get(proven.digest)
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range []sample{proven, partial} {
		if err := b.Delete(of.digest); err != nil {
			t.Error(err)
		}
		if err := b.Delete(of.digest); !errors.Is(err, store.ErrNotFound) {
			t.Error(err)
		}
	}
	got := make([]byte, fourChunks)
	if _, err := h.ReadAt(got, 0); err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(got, proven.content) {
		t.Errorf("open handle of a deleted blob: %v", err)
	}
	for i := range proven.geometry.Chunks() {
		r, err := h.Chunk(i)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, proven.chunk(i)) {
			t.Errorf("chunk %d of a deleted blob: %d bytes, %v", i, len(got), err)
		}
	}
	for _, i := range []blob.ChunkIndex{-1, proven.geometry.Chunks()} {
		if _, err := h.Chunk(i); !errors.Is(err, store.ErrChunk) {
			t.Errorf("chunk %d: %v", i, err)
		}
	}
	_ = h.Close()
	_ = h.Close()
	b.reopen()
	if st := b.Stats(); st.Blobs != 0 || st.Partials != 1 {
		t.Errorf("%+v", st)
	}
}

func chainRebuilt(b *bench) {
	t := b.t
	content := make([]byte, fourChunks)
	fill(content, 9)
	d := digestOf(content)
	if err := b.PutBytes(d, content); err != nil { // it writes no chain
		t.Fatal(err)
	}
	of := sample{content: content, digest: d}
	of.geometry, _ = blob.NewGeometry(fourChunks)
	want := chainOver(t, of, of.chunk, chain.IV())
	for range 2 {
		h, err := b.Get(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, build := range []func() (chain.Chain, error){h.Chain, h.BuildChain} {
			if c, err := build(); err != nil || !slices.Equal(c.Inner(), want.Inner()) {
				t.Fatal(err)
			}
		}
		_ = h.Close()
		b.reopen()
	}
}

func closedStore(b *bench) {
	t := b.t
	of := newSample(t, 1, fourChunks)
	complete(t, b.Store, of)
	h, err := b.Get(of.digest)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Close() }()
	old := b.Store
	b.reopen()
	_, partialErr := old.Partial(digestOf(nil), 0)
	_, getErr := old.Get(of.digest)
	for _, err := range []error{partialErr, getErr, old.PutBytes(digestOf(nil), nil), old.Delete(of.digest)} {
		if !errors.Is(err, store.ErrClosed) {
			t.Error(err)
		}
	}
	if _, err := h.ReadAt(make([]byte, 10), 0); err != nil {
		t.Error(err)
	}
	old.Trim()
}
