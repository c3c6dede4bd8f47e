package store_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
	"github.com/shoal-project/shoal/pkg/store"
)

const (
	osCreate = os.O_CREATE
	osExcl   = os.O_EXCL
	osRdwr   = os.O_RDWR
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A sample is a blob's content with all that is true about it.
type sample struct {
	content  []byte
	digest   blob.Digest
	geometry blob.Geometry
	chain    chain.Chain
}

// fourChunks is the size of a blob of four chunks, the last of them short.
const fourChunks = 3*blob.MinChunk + 1000

func newSample(tb testing.TB, seed uint64, size blob.ByteCount) sample {
	tb.Helper()
	content := make([]byte, size)
	fill(content, seed)
	g, err := blob.NewGeometry(size)
	if err != nil {
		tb.Fatal(err)
	}
	s := sample{content: content, digest: sha256.Sum256(content), geometry: g}
	s.chain = chainOver(tb, s, func(i blob.ChunkIndex) []byte { return s.chunk(i) }, chain.IV())
	return s
}

func fill(p []byte, seed uint64) {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	_, _ = rand.NewChaCha8(key).Read(p)
}

func (s sample) chunk(i blob.ChunkIndex) []byte {
	return s.content[s.geometry.Offset(i):s.geometry.Offset(i+1)]
}

// lie is as long as chunk i and something else.
func (s sample) lie(i blob.ChunkIndex, variant byte) []byte {
	p := bytes.Clone(s.chunk(i))
	p[len(p)/2] ^= 1 + variant
	return p
}

// chainOver is the chain that somebody claims who hashed these chunks from that state.
func chainOver(tb testing.TB, s sample, chunk func(blob.ChunkIndex) []byte, state chain.State) chain.Chain {
	tb.Helper()
	inner := make([]chain.State, 0, s.geometry.Last())
	for i := range s.geometry.Last() {
		next, err := chain.Next(s.geometry, i, state, bytes.NewReader(chunk(i)), nil)
		if err != nil {
			tb.Fatal(err)
		}
		inner, state = append(inner, next), next
	}
	c, err := chain.New(s.geometry, s.digest, inner)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// newChain claims other inner states than those of c: edit changes a copy.
func newChain(tb testing.TB, s sample, c chain.Chain, edit func(inner []chain.State)) chain.Chain {
	tb.Helper()
	inner := append([]chain.State(nil), c.Inner()...)
	edit(inner)
	out, err := chain.New(s.geometry, s.digest, inner)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

func write(tb testing.TB, p *store.Partial, i blob.ChunkIndex, from store.Origin, content []byte) {
	tb.Helper()
	if err := p.WriteChunk(i, from, bytes.NewReader(content)); err != nil {
		tb.Fatalf("write chunk %d: %v", i, err)
	}
}

func begin(tb testing.TB, s *store.Store, of sample) *store.Partial {
	tb.Helper()
	p, err := s.Partial(of.digest, of.geometry.Size())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = p.Close() })
	return p
}

// complete brings the blob from the registry and puts it into its place.
func complete(tb testing.TB, s *store.Store, of sample) {
	tb.Helper()
	p := begin(tb, s, of)
	for i := range of.geometry.Chunks() {
		if _, err := p.Replace(i, bytes.NewReader(of.chunk(i))); err != nil {
			tb.Fatalf("replace chunk %d: %v", i, err)
		}
	}
	prove(tb, p)
	if err := p.Commit(); err != nil {
		tb.Fatal(err)
	}
	if err := p.Close(); err != nil {
		tb.Fatal(err)
	}
}

func prove(tb testing.TB, p *store.Partial) {
	tb.Helper()
	if _, _, mismatch, err := p.HashPrefix(0, p.Geometry().Last()); err != nil || mismatch {
		tb.Fatalf("hash: mismatch %v, err %v", mismatch, err)
	}
	if err := p.Prove(); err != nil {
		tb.Fatal(err)
	}
}

func readProven(tb testing.TB, s *store.Store, of sample) []byte {
	tb.Helper()
	p, err := s.Get(of.digest)
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = p.Close() }()
	content, err := io.ReadAll(io.NewSectionReader(p, 0, int64(p.Size())))
	if err != nil {
		tb.Fatal(err)
	}
	return content
}

func set(b blob.Bitset) []blob.ChunkIndex {
	out := []blob.ChunkIndex{}
	for i := range b.All() {
		out = append(out, i)
	}
	return out
}

func digestOf(p []byte) blob.Digest { return sha256.Sum256(p) }
