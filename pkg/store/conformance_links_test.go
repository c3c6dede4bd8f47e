package store_test

import (
	"bytes"
	"errors"
	"slices"
	"testing/iotest"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
	"github.com/shoal-project/shoal/pkg/store"
)

func tailFirst(b *bench) {
	t := b.t
	of := newSample(t, 1, fourChunks)
	p := begin(t, b.Store, of)
	for i := of.geometry.Last(); i >= 0; i-- {
		write(t, p, i, store.FromPeer, of.chunk(i))
		if _, err := p.ReadServable(i); !errors.Is(err, store.ErrNotServable) {
			t.Fatalf("unproven chunk %d: %v", i, err)
		}
		verified, err := p.CheckLink(i, of.chain)
		if err != nil || !slices.Equal(verified, []blob.ChunkIndex{i}) {
			t.Fatal(verified, err)
		}
		body, err := p.ReadServable(i)
		if err != nil {
			t.Fatal(err)
		}
		if err := iotest.TestReader(body, of.chunk(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Prove(); err != nil {
		t.Fatal(err)
	}
}

func linksOutOfOrder(b *bench) {
	t := b.t
	of := newSample(t, 1, fourChunks)
	p := begin(t, b.Store, of)
	for _, i := range []blob.ChunkIndex{0, 1, 2} {
		write(t, p, i, store.FromPeer, of.chunk(i))
		if verified, err := p.CheckLink(i, of.chain); len(verified) > 0 || err != nil {
			t.Fatal(verified, err)
		}
	}
	if _, err := p.CheckLink(3, of.chain); !errors.Is(err, store.ErrNotHeld) {
		t.Fatal(err)
	}
	write(t, p, 3, store.FromPeer, of.chunk(3))
	if verified, err := p.CheckLink(3, of.chain); len(verified) != 4 || err != nil {
		t.Fatal(verified, err)
	}
	if verified, err := p.CheckLink(3, of.chain); len(verified) != 0 || err != nil {
		t.Fatal("again", verified, err)
	}
	if err := p.Prove(); err != nil {
		t.Fatal(err)
	}
}

func prefixMeetsSuffix(b *bench) {
	t := b.t
	of := newSample(t, 1, fourChunks)
	p := begin(t, b.Store, of)
	for i := range of.geometry.Chunks() {
		write(t, p, i, store.FromPeer, of.chunk(i))
	}
	for _, i := range []blob.ChunkIndex{3, 2} {
		if _, err := p.CheckLink(i, of.chain); err != nil {
			t.Fatal(err)
		}
	}
	p.DropLinks()
	next, verified, mismatch, err := p.HashPrefix(0, 1)
	if next != 4 || len(verified) != 4 || mismatch || err != nil {
		t.Fatal(next, verified, mismatch, err)
	}
	if err := p.Prove(); err != nil {
		t.Fatal(err)
	}
}

func falseChain(b *bench) {
	t := b.t
	of := newSample(t, 1, fourChunks)
	p := begin(t, b.Store, of)
	for i := range of.geometry.Chunks() {
		write(t, p, i, store.FromPeer, of.chunk(i))
	}
	// It starts from an invented state in the middle, so that chunk 1 continues it.
	invented := newChain(t, of, of.chain, func(inner []chain.State) {
		inner[0] = chain.State{1}
		next, err := chain.Next(of.geometry, 1, inner[0], bytes.NewReader(of.chunk(1)), nil)
		if err != nil {
			t.Fatal(err)
		}
		inner[1] = next
	})
	if verified, err := p.CheckLink(1, invented); len(verified) > 0 || err != nil {
		t.Fatalf("a link that is only consistent: %v, %v", verified, err)
	}
	for _, i := range []blob.ChunkIndex{0, 2} {
		_, err := p.CheckLink(i, invented)
		if broken := (*store.LinkError)(nil); !errors.As(err, &broken) || broken.Chunk != i || broken.Blob != of.digest {
			t.Fatalf("link %d: %v", i, err)
		}
	}
	if verified, err := p.CheckLink(3, invented); len(verified) != 1 || err != nil {
		t.Fatalf("the part that is true: %v, %v", verified, err)
	}
	p.DropLinks()
	if _, v, _ := p.States(); !slices.Equal(set(v), []blob.ChunkIndex{3}) {
		t.Fatalf("after dropping: %v", set(v))
	}
	if _, err := p.CheckLink(0, chain.Chain{}); err == nil {
		t.Fatal("no chain at all")
	}
	other := newSample(t, 2, fourChunks)
	if _, err := p.CheckLink(0, other.chain); err == nil {
		t.Fatal("another blob's chain")
	}
	for _, i := range []blob.ChunkIndex{2, 1, 0} {
		if _, err := p.CheckLink(i, of.chain); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Prove(); err != nil {
		t.Fatal(err)
	}
}

func linkOverReplacedBytes(b *bench) {
	t := b.t
	of := newSample(t, 1, fourChunks)
	p := begin(t, b.Store, of)
	for i := range of.geometry.Chunks() {
		write(t, p, i, store.FromPeer, of.chunk(i))
	}
	write2 := of.lie(1, 0)
	for i := range of.geometry.Chunks() {
		if i != 3 {
			if _, err := p.CheckLink(i, of.chain); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := p.Drop(1); err != nil {
		t.Fatal(err)
	}
	write(t, p, 1, store.FromPeer, write2)
	verified, err := p.CheckLink(3, of.chain)
	if err != nil || !slices.Equal(verified, []blob.ChunkIndex{2, 3}) {
		t.Fatal(verified, err)
	}
	if _, err := p.CheckLink(1, of.chain); err == nil {
		t.Fatal("the link of the bytes before holds over those after")
	}
	if err := p.Prove(); !errors.Is(err, store.ErrNotProven) {
		t.Fatal(err)
	}
	if same, err := p.Replace(1, bytes.NewReader(of.chunk(1))); same || err != nil {
		t.Fatal(same, err)
	}
	if same, err := p.Replace(1, bytes.NewReader(of.chunk(1))); !same || err != nil {
		t.Fatal(same, err)
	}
	if verified, err := p.CheckLink(1, of.chain); err != nil || !slices.Equal(verified, []blob.ChunkIndex{0, 1}) {
		t.Fatal(verified, err)
	}
	r, v, q := p.States()
	if !slices.Equal(set(r), []blob.ChunkIndex{1}) || !slices.Equal(set(v), []blob.ChunkIndex{0, 2, 3}) || q.Count() != 0 {
		t.Fatal(set(r), set(v), set(q))
	}
	if err := p.Prove(); err != nil {
		t.Fatal(err)
	}
}

func knownStatesOutliveBytes(b *bench) {
	t := b.t
	of := newSample(t, 1, fourChunks)
	p := begin(t, b.Store, of)
	for _, i := range []blob.ChunkIndex{3, 2, 1} {
		write(t, p, i, store.FromPeer, of.chunk(i))
		if _, err := p.CheckLink(i, of.chain); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Drop(2); err != nil { // unreadable, say
		t.Fatal(err)
	}
	if _, v, _ := p.States(); !slices.Equal(set(v), []blob.ChunkIndex{1, 3}) {
		t.Fatal(set(v))
	}
	write(t, p, 2, store.FromPeer, of.lie(2, 0))
	if _, err := p.ReadServable(2); !errors.Is(err, store.ErrNotServable) {
		t.Fatal("a lie in the place of a verified chunk is served")
	}
	if err := p.Drop(2); err != nil {
		t.Fatal(err)
	}
	write(t, p, 2, store.FromPeer, of.chunk(2))
	if verified, err := p.CheckLink(2, of.chain); err != nil || !slices.Equal(verified, []blob.ChunkIndex{2}) {
		t.Fatal(verified, err)
	}
}

func wholeBlobOfLies(b *bench) {
	t := b.t
	of := newSample(t, 1, fourChunks)
	p := begin(t, b.Store, of)
	for i := range of.geometry.Chunks() {
		write(t, p, i, store.FromPeer, of.lie(i, 0))
	}
	lying := chainOver(t, of, func(i blob.ChunkIndex) []byte { return of.lie(i, 0) }, chain.IV())
	for _, i := range []blob.ChunkIndex{0, 1, 2} {
		if verified, err := p.CheckLink(i, lying); len(verified) > 0 || err != nil {
			t.Fatal(verified, err)
		}
	}
	if _, err := p.CheckLink(3, lying); err == nil {
		t.Fatal("the last link of a lie holds")
	}
	next, verified, mismatch, err := p.HashPrefix(0, 3)
	if next != 4 || len(verified) > 0 || !mismatch || err != nil {
		t.Fatal(next, verified, mismatch, err)
	}
	if err := p.Prove(); !errors.Is(err, store.ErrNotProven) || !errors.Is(err, store.ErrMismatch) {
		t.Fatal(err)
	}
	for i := range of.geometry.Chunks() {
		if _, err := p.ReadServable(i); err == nil {
			t.Fatal("a lie is served")
		}
	}
	if _, err := p.Chain(); !errors.Is(err, store.ErrNotProven) {
		t.Fatal(err)
	}
}
