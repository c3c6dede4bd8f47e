package sim

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
	sha "github.com/shoal-project/shoal/pkg/chain"
	"github.com/shoal-project/shoal/pkg/store"
)

// A pair is a disk and the store that it models, about one blob of four chunks.
type pair struct {
	t       *testing.T
	disk    *disk
	partial *store.Partial
	content []byte
	// What the disk's values at each boundary stand for.
	states []map[value]sha.State
	// Chains that somebody claims, in both worlds.
	modelled []*chain
	claimed  []sha.Chain
}

func newPair(t *testing.T, random *rand.Rand) *pair {
	t.Helper()
	content := make([]byte, 3*blob.MinChunk+1000)
	for i := range content {
		content[i] = byte(random.Uint32())
	}
	g, err := blob.NewGeometry(blob.ByteCount(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(store.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	p := &pair{t: t, content: content, states: make([]map[value]sha.State, g.Chunks()+1)}
	if p.partial, err = s.Partial(sha256.Sum256(content), g.Size()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.partial.Close() })
	w := &world{blobs: []layer{{geometry: g}}, random: random}
	p.disk = newDisk(&node{w: w}, 0)
	p.states[0] = map[value]sha.State{0: sha.IV()}
	for i := range g.Chunks() {
		p.states[i+1] = map[value]sha.State{0: p.next(i, p.states[i][0], 0)}
	}
	p.claim(make([]value, g.Chunks()+1))
	for _, l := range []Lie{FalseChain, FalseLink, FalseState} {
		p.disk.layer.forged = nil
		p.claim(p.disk.forge(l).values)
	}
	return p
}

// bytes are what a content stands for.
func (p *pair) bytes(i blob.ChunkIndex, c content) []byte {
	g := p.disk.layer.geometry
	out := bytes.Clone(p.content[g.Offset(i):g.Offset(i+1)])
	out[0] ^= byte(c)
	return out
}

func (p *pair) next(i blob.ChunkIndex, before sha.State, c content) sha.State {
	p.t.Helper()
	after, err := sha.Next(p.disk.layer.geometry, i, before, bytes.NewReader(p.bytes(i, c)), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return after
}

// claim adds a chain. A value that follows from the one before over forged bytes stands for
// the state that does; any other wrong one for a state out of the air.
func (p *pair) claim(values []value) {
	p.t.Helper()
	n := p.disk.n
	inner := make([]sha.State, 0, n-1)
	for i := range n - 1 {
		v := values[i+1]
		state, known := p.states[i+1][v]
		switch {
		case known:
		case v == after(i, values[i], forged(i)):
			state = p.next(i, p.states[i][values[i]], forged(i))
		default:
			state = sha.State{1, byte(i)}
		}
		p.states[i+1][v] = state
		inner = append(inner, state)
	}
	c, err := sha.New(p.disk.layer.geometry, p.partial.Digest(), inner)
	if err != nil {
		p.t.Fatal(err)
	}
	p.modelled, p.claimed = append(p.modelled, &chain{values}), append(p.claimed, c)
}

// do does one thing to both and compares what they say of it.
func (p *pair) do(random *rand.Rand) {
	p.t.Helper()
	i := blob.ChunkIndex(random.IntN(int(p.disk.n)))
	c := content(random.IntN(2)) * 7 // the liars' forgery of the first chunk, among others
	switch op := random.IntN(12); {
	case op < 4:
		from, as := fromPeer, store.FromPeer
		if random.IntN(3) == 0 {
			from, as = fromRegistry, store.FromRegistry
		}
		err := p.partial.WriteChunk(i, as, bytes.NewReader(p.bytes(i, c)))
		if wrote := p.disk.write(i, c, from); wrote != (err == nil) {
			p.t.Fatalf("write %d: %v, %v", i, wrote, err)
		}
	case op == 4:
		p.disk.lose(i)
		if err := p.partial.Drop(i); err != nil {
			p.t.Fatal(err)
		}
	case op == 5:
		same, err := p.partial.Replace(i, bytes.NewReader(p.bytes(i, c)))
		if got := p.disk.replace(i, c); err != nil || got != same {
			p.t.Fatalf("replace %d: %v, %v, %v", i, got, same, err)
		}
	case op == 6:
		p.disk.dropLinks()
		p.partial.DropLinks()
	case op < 10:
		p.checkLink(i, random.IntN(len(p.claimed)))
	default:
		next, verified, mismatch, err := p.partial.HashPrefix(0, i)
		got, wrong := p.disk.hashPrefix(i)
		if err != nil || next != p.disk.next() || !slices.Equal(verified, got) || mismatch != wrong {
			p.t.Fatalf("hash to %d: %d %v %v, %d %v %v, %v", i, p.disk.next(), got, wrong, next, verified, mismatch, err)
		}
	}
}

func (p *pair) checkLink(i blob.ChunkIndex, k int) {
	p.t.Helper()
	verified, err := p.partial.CheckLink(i, p.claimed[k])
	var broken *store.LinkError
	if err != nil && !errors.As(err, &broken) && !errors.Is(err, store.ErrNotHeld) {
		p.t.Fatal(err)
	}
	holds, got := p.disk.checkLink(i, p.modelled[k])
	if holds != (err == nil) || !slices.Equal(got, verified) {
		p.t.Fatalf("link of %d under chain %d: %v %v, %v %v", i, k, holds, got, verified, err)
	}
}

// compare holds the states of all chunks against each other.
func (p *pair) compare() {
	p.t.Helper()
	r, v, q := p.partial.States()
	for i := range p.disk.n {
		c := p.disk.cells[i]
		isR := c.origin == fromRegistry
		isV := c.origin == fromPeer && c.verified
		isQ := c.origin == fromPeer && !c.verified
		if isR != r.Has(i) || isV != v.Has(i) || isQ != q.Has(i) || p.disk.servable.Has(i) != (isR || isV) {
			p.t.Fatalf("chunk %d is %+v; in the store R %v, V %v, Q %v", i, c, r.Has(i), v.Has(i), q.Has(i))
		}
	}
}

// TestDiskIsTheStore plays the same on a disk and on the store, with right and wrong bytes
// under right and false chains: they say the same of every chunk and every link.
func TestDiskIsTheStore(t *testing.T) {
	for seed := range uint64(25) {
		random := rand.New(rand.NewPCG(seed, 5))
		p := newPair(t, random)
		for range 80 {
			p.do(random)
			p.compare()
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
