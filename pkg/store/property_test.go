package store_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
	"github.com/shoal-project/shoal/pkg/store"
)

// A pair is a Partial and its model under the same hands.
type pair struct {
	fsys    *crashFS
	store   *store.Store
	partial *store.Partial
	model   *model
	of      sample
	chains  []chain.Chain
}

func (p *pair) open(t *rapid.T) {
	s, err := store.Open(store.Config{Dir: "/store", FS: p.fsys})
	if err != nil {
		t.Fatal(err)
	}
	p.store = s
	if p.partial, err = s.Partial(p.of.digest, p.of.geometry.Size()); err != nil {
		t.Fatal(err)
	}
}

func (p *pair) chunk(t *rapid.T) blob.ChunkIndex {
	return blob.ChunkIndex(rapid.IntRange(0, int(p.of.geometry.Last())).Draw(t, "chunk"))
}

// content is what a peer might send: the truth in two cases of three.
func (p *pair) content(t *rapid.T, i blob.ChunkIndex) []byte {
	if lie := rapid.IntRange(0, 5).Draw(t, "lie"); lie >= 4 {
		return p.of.lie(i, byte(lie-4))
	}
	return p.of.chunk(i)
}

func (p *pair) write(t *rapid.T) { p.writeAt(t, p.chunk(t)) }

// fill writes what is missing, so that long runs of links come about.
func (p *pair) fill(t *rapid.T) {
	for i := range p.of.geometry.Chunks() {
		if p.model.bytes[i] == nil {
			p.writeAt(t, i)
		}
	}
}

func (p *pair) writeAt(t *rapid.T, i blob.ChunkIndex) {
	from, content := store.FromPeer, p.content(t, i)
	if rapid.Bool().Draw(t, "upstream") {
		from, content = store.FromRegistry, p.of.chunk(i)
	}
	err := p.partial.WriteChunk(i, from, bytes.NewReader(content))
	if p.model.bytes[i] != nil {
		if !errors.Is(err, store.ErrHeld) {
			t.Fatalf("held chunk written: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	p.model.put(i, from, content)
}

func (p *pair) writeBroken(t *rapid.T) {
	i := p.chunk(t)
	content := p.content(t, i)
	content = content[:rapid.IntRange(0, len(content)-1).Draw(t, "length")]
	if err := p.partial.WriteChunk(i, store.FromPeer, bytes.NewReader(content)); err == nil {
		t.Fatal("short chunk written")
	}
}

func (p *pair) replace(t *rapid.T) {
	i := p.chunk(t)
	want := p.of.chunk(i)
	same, err := p.partial.Replace(i, bytes.NewReader(want))
	if p.model.proven {
		if !errors.Is(err, store.ErrProven) {
			t.Fatal(err)
		}
		return
	}
	if err != nil || same != bytes.Equal(p.model.bytes[i], want) {
		t.Fatal(same, err)
	}
	if !same {
		p.model.lose(i)
	}
	p.model.put(i, store.FromRegistry, want)
}

func (p *pair) drop(t *rapid.T) {
	i := p.chunk(t)
	err := p.partial.Drop(i)
	if p.model.proven {
		if !errors.Is(err, store.ErrProven) {
			t.Fatal(err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	p.model.lose(i)
}

func (p *pair) check(t *rapid.T) {
	p.checkAt(t, p.chunk(t), rapid.SampledFrom(p.chains).Draw(t, "chain"))
}

// checkAll checks a whole chain in some order.
func (p *pair) checkAll(t *rapid.T) {
	c := rapid.SampledFrom(p.chains).Draw(t, "chain")
	for _, i := range rapid.Permutation(set(blob.FullBitset(p.of.geometry.Chunks()))).Draw(t, "order") {
		p.checkAt(t, i, c)
	}
}

func (p *pair) checkAt(t *rapid.T, i blob.ChunkIndex, c chain.Chain) {
	verified, err := p.partial.CheckLink(i, c)
	m := p.model
	if m.bytes[i] == nil {
		if !errors.Is(err, store.ErrNotHeld) {
			t.Fatal(err)
		}
		return
	}
	broken := (*store.LinkError)(nil)
	if m.hash(i, c.Before(i)) != c.After(i) {
		if !errors.As(err, &broken) || len(verified) > 0 {
			t.Fatalf("false link holds: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatalf("true link does not hold: %v", err)
	}
	before := p.anchored()
	m.claimed[i][modelLink{c.Before(i), c.After(i)}] = true
	m.conclude()
	p.compareVerified(t, before, verified)
}

func (p *pair) anchored() map[blob.ChunkIndex]bool {
	out := map[blob.ChunkIndex]bool{}
	for i := range p.of.geometry.Chunks() {
		out[i] = p.model.verified(i)
	}
	return out
}

func (p *pair) compareVerified(t *rapid.T, before map[blob.ChunkIndex]bool, got []blob.ChunkIndex) {
	want := []blob.ChunkIndex{}
	for i := range p.of.geometry.Chunks() {
		if p.model.verified(i) && !before[i] {
			want = append(want, i)
		}
	}
	if !slices.Equal(got, want) && len(got)+len(want) > 0 {
		t.Fatalf("verified %v, the model says %v", got, want)
	}
}

func (p *pair) hashPrefix(t *rapid.T) { p.hashTo(t, p.chunk(t)) }

func (p *pair) hashAndProve(t *rapid.T) {
	p.hashTo(t, p.of.geometry.Last())
	p.prove(t)
}

func (p *pair) hashTo(t *rapid.T, through blob.ChunkIndex) {
	next, verified, mismatch, err := p.partial.HashPrefix(0, through)
	if err != nil {
		t.Fatal(err)
	}
	m, n := p.model, p.of.geometry.Chunks()
	before := p.anchored()
	for k := blob.ChunkIndex(len(m.prefix) - 1); k <= through && m.bytes[k] != nil; k = blob.ChunkIndex(len(m.prefix) - 1) {
		m.prefix = append(m.prefix, m.hash(k, m.prefix[k]))
		m.conclude()
	}
	if int(next) != len(m.prefix)-1 {
		t.Fatalf("hashed up to %d, the model to %d", next, len(m.prefix)-1)
	}
	if next < n {
		p.compareVerified(t, before, verified)
	} else if m.whole() == mismatch || m.whole() != (len(verified) == int(n)) {
		t.Fatalf("mismatch %v with %v verified; whole is %v", mismatch, verified, m.whole())
	}
}

func (p *pair) prove(t *rapid.T) {
	err := p.partial.Prove()
	hashed := len(p.model.prefix) == int(p.of.geometry.Chunks())+1
	switch {
	case err == nil && !p.model.whole():
		t.Fatal("proven, but the bytes have another digest")
	case err != nil && hashed && p.model.whole():
		t.Fatalf("every link is there: %v", err)
	case err == nil:
		p.model.proven = true
	case !errors.Is(err, store.ErrNotProven):
		t.Fatal(err)
	}
}

func (p *pair) reopen(t *rapid.T) {
	if rapid.Bool().Draw(t, "killed") {
		p.fsys.restart(true)
	} else if err := p.store.Close(); err != nil {
		t.Fatal(err)
	}
	p.open(t)
	p.model.restart()
}

// invariant compares all that can be seen, and holds it against the truth.
func (p *pair) invariant(t *rapid.T) {
	r, v, q := p.partial.States()
	wantR, wantV, wantQ := p.model.states()
	if !slices.Equal(set(r), wantR) || !slices.Equal(set(v), wantV) || !slices.Equal(set(q), wantQ) {
		t.Fatalf("R %v V %v Q %v, the model says R %v V %v Q %v", set(r), set(v), set(q), wantR, wantV, wantQ)
	}
	for i := range p.of.geometry.Chunks() {
		body, err := p.partial.ReadServable(i)
		if servable := r.Has(i) || v.Has(i); servable != (err == nil) {
			t.Fatalf("chunk %d: servable %v, err %v", i, servable, err)
		}
		if err == nil && !bytes.Equal(p.model.bytes[i], p.of.chunk(i)) {
			t.Fatalf("chunk %d is servable and wrong", i)
		}
		if err != nil || rapid.IntRange(0, 3).Draw(t, "look") > 0 {
			continue
		}
		if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, p.of.chunk(i)) {
			t.Fatalf("chunk %d is served wrong: %v", i, err)
		}
	}
	available := blob.ByteCount(0)
	for i := range p.of.geometry.Chunks() {
		if !p.model.proven && p.model.origin[i] != store.FromRegistry {
			break
		}
		available += p.of.geometry.Length(i)
	}
	if got := p.partial.AvailableFrom(0); got != available {
		t.Fatalf("a client may have %d bytes, the model says %d", got, available)
	}
}

// Nothing unproven is servable, nothing wrong is proven, and what follows from the links
// is seen at once, whatever peers send and claim and in whatever order.
func TestPartialLikeItsModel(t *testing.T) {
	of := newSample(t, 3, 2*blob.MinChunk+1000)
	chains := []chain.Chain{
		of.chain,
		chainOver(t, of, func(i blob.ChunkIndex) []byte { return of.lie(i, 0) }, chain.IV()),
		chainOver(t, of, of.chunk, chain.State{7}),
		newChain(t, of, of.chain, func(inner []chain.State) { inner[0][0]++ }),
	}
	rapid.Check(t, func(rt *rapid.T) {
		p := &pair{fsys: newCrashFS(1), of: of, chains: chains, model: newModel(t, of)}
		p.open(rt)
		defer func() { _ = p.store.Close() }()
		rt.Repeat(map[string]func(*rapid.T){
			"":             p.invariant,
			"write":        p.write,
			"fill":         p.fill,
			"write broken": p.writeBroken,
			"replace":      p.replace,
			"drop":         p.drop,
			"check":        p.check,
			"check all":    p.checkAll,
			"hash prefix":  p.hashPrefix,
			"drop links":   func(*rapid.T) { p.partial.DropLinks(); p.model.dropLinks() },
			"prove":        p.prove,
			"hash, prove":  p.hashAndProve,
			"reopen":       p.reopen,
		})
	})
}
