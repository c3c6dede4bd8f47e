package engine

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/store"
)

// elsewhere is a place beside the store that holds one proven blob, and counts who opens it.
type elsewhere struct {
	store  *store.Store
	wrong  error // what every chunk fails with
	opened int
	disk   error // what the disk is said to have failed with
}

// spoilable fails as told.
type spoilable struct {
	Proven
	place *elsewhere
}

func (s spoilable) Chunk(i blob.ChunkIndex) (io.ReadCloser, error) {
	if s.place.wrong != nil {
		return nil, s.place.wrong
	}
	return s.Proven.Chunk(i)
}

func (p *elsewhere) open(d blob.Digest) (Proven, error) {
	found, err := p.store.Get(d)
	if err != nil {
		return nil, err
	}
	p.opened++
	return spoilable{found, p}, nil
}

// elsewhereNode starts an engine whose store is empty, and a place that holds the blob.
func elsewhereNode(t *testing.T, f *fabric, content []byte, want Want) (*testNode, *elsewhere) {
	t.Helper()
	st, err := store.Open(store.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	if err := st.PutBytes(want.Blob, content); err != nil {
		t.Fatal(err)
	}
	place := &elsewhere{store: st}
	n := f.nodeWith(t, "a", upstreamOf(), store.Config{Dir: t.TempDir()}, func(c *Config) {
		c.Elsewhere = place.open
		c.OnDisk = func(err error) { place.disk = errors.Join(place.disk, err) }
	})
	return n, place
}

// What lies beside the store is served to peers and to clients, and not kept a second time.
func TestServesWhatLiesElsewhere(t *testing.T) {
	content, want := makeBlob(3 << 20)
	f := newFabric()
	a, place := elsewhereNode(t, f, content, want)
	b := f.node(t, "b", upstreamOf(), t.TempDir())
	a.port.Provide(want.Blob)
	for _, n := range []*testNode{b, a} {
		if got, err := fetch(deadline(t), n.Engine, want); err != nil || !bytes.Equal(got, content) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	if stats := a.store.Stats(); stats.Blobs != 0 || stats.Partials != 0 {
		t.Errorf("the store has %+v", stats)
	}
	if place.opened != 1 {
		t.Errorf("opened %d times", place.opened)
	}
}

// A blob that went from one place is found in the other.
func TestLetsGo(t *testing.T) {
	content, want := makeBlob(1 << 20)
	a, place := elsewhereNode(t, newFabric(), content, want)
	if err := a.store.PutBytes(want.Blob, content); err != nil {
		t.Fatal(err)
	}
	body, err := a.Open(want)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.store.Delete(want.Blob); err != nil {
		t.Fatal(err)
	}
	a.LetGo(want.Blob) // in use: it stays
	p := make([]byte, len(content))
	if _, err := body.ReadAt(p, 0); err != nil || !bytes.Equal(p, content) {
		t.Errorf("what is in use is gone: %v", err)
	}
	if err := body.Close(); err != nil {
		t.Fatal(err)
	}
	a.LetGo(want.Blob)
	until(t, a.Engine, "the file closed", func() bool { return a.find(want.Blob) == nil })
	if got, err := fetch(deadline(t), a.Engine, want); err != nil || !bytes.Equal(got, content) || place.opened != 1 {
		t.Errorf("%d bytes, opened elsewhere %d times, %v", len(got), place.opened, err)
	}
}

// Bytes that are not right any more go to nobody, and are no failure of the store's disk.
func TestSpoiledElsewhere(t *testing.T) {
	content, want := makeBlob(1 << 20)
	f := newFabric()
	a, place := elsewhereNode(t, f, content, want)
	if _, err := fetch(deadline(t), a.Engine, want); err != nil {
		t.Fatal(err)
	}
	place.wrong = errors.New("not what it was")
	if r, err := a.chunk(a.find(want.Blob), 0); !errors.Is(err, place.wrong) || r != nil {
		t.Errorf("a chunk was opened: %v", err)
	}
	until(t, a.Engine, "the entry lost", func() bool { return a.find(want.Blob) == nil })
	if place.disk != nil {
		t.Errorf("the disk is blamed: %v", place.disk)
	}
}
