package chain

import (
	"bytes"
	"crypto/sha256"
	"encoding"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/shoal-project/shoal/pkg/blob"
)

// content returns size bytes that depend on seed alone.
func content(size blob.ByteCount, seed uint64) []byte {
	p := make([]byte, size)
	source := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	_, _ = source.Read(p) // never fails
	return p
}

func geometry(tb testing.TB, size blob.ByteCount) blob.Geometry {
	tb.Helper()
	g, err := blob.NewGeometry(size)
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

func chunk(g blob.Geometry, p []byte, i blob.ChunkIndex) []byte {
	return p[g.Offset(i):g.Offset(i+1)]
}

// next is Next over the bytes, which are expected to be fine.
func next(tb testing.TB, g blob.Geometry, i blob.ChunkIndex, before State, p []byte) State {
	tb.Helper()
	after, err := Next(g, i, before, bytes.NewReader(p), nil)
	if err != nil {
		tb.Fatalf("chunk %d of %d bytes: %v", i, g.Size(), err)
	}
	return after
}

// build hashes the blob from the IV on, chunk by chunk.
func build(tb testing.TB, g blob.Geometry, p []byte) Chain {
	tb.Helper()
	states := make([]State, 1, g.Chunks()+1)
	states[0] = IV()
	for i := range g.Chunks() {
		states = append(states, next(tb, g, i, states[i], chunk(g, p, i)))
	}
	c, err := New(g, blob.Digest(states[g.Chunks()]), states[1:g.Chunks()])
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// stateAfter asks crypto/sha256 itself for its state after the prefix of whole blocks.
func stateAfter(tb testing.TB, prefix []byte) State {
	tb.Helper()
	h := sha256.New()
	h.Write(prefix)
	saver, ok := h.(encoding.BinaryMarshaler)
	if !ok {
		tb.Fatal("crypto/sha256 does not save its state")
	}
	saved, err := saver.MarshalBinary()
	if err != nil {
		tb.Fatal(err)
	}
	return State(saved[4:36])
}

// sizeClasses are all the ways in which a blob can end, in one chunk, in several, and in
// several geometries.
func sizeClasses() []blob.ByteCount {
	const edge = blob.MinChunk
	return []blob.ByteCount{
		0, 1, 2, 55, 56, 57, 63, 64, 65, 119, 120, 127, 128, 129, 4095, 4096,
		edge - 65, edge - 64, edge - 9, edge - 8, edge - 1, edge, edge + 1, edge + 55, edge + 56, edge + 64,
		2*edge - 1, 2 * edge, 2*edge + 1, 7*edge + 12345,
	}
}

func TestNextAgreesWithSHA256InEveryGeometry(t *testing.T) {
	for _, size := range []blob.ByteCount{
		64*blob.MiB + 63,  // chunks of 128 KiB
		512*blob.MiB + 65, // the first of 512 KiB, and a length of more than 2^32 bits
	} {
		if size > 70*blob.MiB && testing.Short() {
			continue
		}
		g, whole := geometry(t, size), sha256.New()
		r := &periodic{pattern: content(1<<20+7, 1)} // of an odd length: no two chunks are alike
		state := IV()
		for i := range g.Chunks() {
			after, err := Next(g, i, state, io.TeeReader(io.LimitReader(r, int64(g.Length(i))), whole), nil)
			if err != nil {
				t.Fatal(err)
			}
			state = after
		}
		if !bytes.Equal(state[:], whole.Sum(nil)) {
			t.Errorf("%d bytes in chunks of %d: the chain ends in %x", size, g.ChunkSize(), state)
		}
	}
}

// periodic repeats a pattern for ever.
type periodic struct {
	pattern []byte
	at      int
}

func (r *periodic) Read(p []byte) (int, error) {
	n := copy(p, r.pattern[r.at:])
	r.at = (r.at + n) % len(r.pattern)
	return n, nil
}

func TestNextAgreesWithSHA256(t *testing.T) {
	for _, size := range sizeClasses() {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			g, p := geometry(t, size), content(size, uint64(size))
			c := build(t, g, p)
			if want := State(sha256.Sum256(p)); c.After(g.Last()) != want {
				t.Fatalf("the chain ends in %x, want %x", c.After(g.Last()), want)
			}
			if c.Before(0) != IV() {
				t.Fatalf("the chain begins with %x", c.Before(0))
			}
			// The states in between are those of crypto/sha256 itself. Hashing every prefix is
			// quadratic: a few will do.
			for _, i := range []blob.ChunkIndex{1, 2, g.Chunks() / 2, g.Last()} {
				if i > 0 && i < g.Chunks() && c.Before(i) != stateAfter(t, p[:g.Offset(i)]) {
					t.Errorf("the state before chunk %d is not that of crypto/sha256", i)
				}
			}
		})
	}
}

// The offset of far chunks counts in the last link's padding, where hashing all that comes
// before is too slow for a test: the hasher is given the state and the length instead.
func TestLastLinkOfTheLargestBlobs(t *testing.T) {
	for _, size := range []blob.ByteCount{blob.MaxSize, blob.MaxSize - 1, 100*blob.GiB + 12345} {
		g := geometry(t, size)
		last, before := content(g.Length(g.Last()), 3), State(sha256.Sum256([]byte("any state")))
		want := slowLast(before, last, size)
		if got := next(t, g, g.Last(), before, last); got != want {
			t.Errorf("last link of %d bytes gives %x, want %x", size, got, want)
		}
	}
}

// slowLast pads by hand (FIPS 180-4, section 5.1.1) and compresses block by block.
func slowLast(before State, tail []byte, size blob.ByteCount) State {
	padded := append(bytes.Clone(tail), 0x80)
	for len(padded)%64 != 56 {
		padded = append(padded, 0)
	}
	bits := uint64(size) * 8
	for shift := 56; shift >= 0; shift -= 8 {
		padded = append(padded, byte(bits>>shift))
	}
	state, k := before, roundConstants()
	for len(padded) > 0 {
		state = compress(k, state, [64]byte(padded))
		padded = padded[64:]
	}
	return state
}

func TestOneFlippedBitBreaksExactlyOneLink(t *testing.T) {
	for _, size := range []blob.ByteCount{1, 64, blob.MinChunk, blob.MinChunk + 1, 5*blob.MinChunk - 17} {
		g, p := geometry(t, size), content(size, 7)
		c := build(t, g, p)
		random := rand.New(rand.NewPCG(uint64(size), 1))
		offsets := []blob.ByteCount{0, size - 1, 0, 0, 0}
		for n := range offsets[2:] {
			offsets[2+n] = blob.ByteCount(random.Int64N(int64(size)))
		}
		for _, off := range offsets {
			bit := byte(1) << random.IntN(8)
			p[off] ^= bit
			for i := range g.Chunks() {
				holds := next(t, g, i, c.Before(i), chunk(g, p, i)) == c.After(i)
				if holds != (i != g.At(off)) {
					t.Errorf("%d bytes, bit flipped at %d (chunk %d): link %d holds: %t", size, off, g.At(off), i, holds)
				}
			}
			p[off] ^= bit
		}
	}
}

// A wrong state breaks the link that ends in it and the link that begins with it.
func TestOneWrongStateBreaksItsTwoLinks(t *testing.T) {
	size := 6*blob.MinChunk - 17
	g, p := geometry(t, size), content(size, 8)
	c := build(t, g, p)
	for wrong := range len(c.Inner()) {
		inner := append([]State(nil), c.Inner()...)
		inner[wrong][wrong%32] ^= 1
		lie, err := New(g, blob.Digest(c.After(g.Last())), inner)
		if err != nil {
			t.Fatal(err)
		}
		for i := range g.Chunks() {
			holds := next(t, g, i, lie.Before(i), chunk(g, p, i)) == lie.After(i)
			if touched := int(i) == wrong || int(i) == wrong+1; holds == touched {
				t.Errorf("inner state %d is wrong: link %d holds: %t", wrong, i, holds)
			}
		}
	}
}

func TestNextReadsExactlyTheChunk(t *testing.T) {
	size := blob.MinChunk + 100
	g, p := geometry(t, size), content(size, 9)
	c := build(t, g, p)
	broken := errors.New("broken disk")
	for i := range g.Chunks() {
		right := chunk(g, p, i)
		for what, r := range map[string]io.Reader{
			"nothing":  bytes.NewReader(nil),
			"one less": bytes.NewReader(right[:len(right)-1]),
			"one more": io.MultiReader(bytes.NewReader(right), bytes.NewReader([]byte{0})),
			"endless":  io.MultiReader(bytes.NewReader(right), zeros{}),
		} {
			if after, err := Next(g, i, c.Before(i), r, nil); !errors.Is(err, ErrLength) || after != (State{}) {
				t.Errorf("chunk %d, %s: %x, %v", i, what, after, err)
			}
		}
		for what, r := range map[string]io.Reader{
			"at once":       iotest.ErrReader(broken),
			"in the middle": io.MultiReader(bytes.NewReader(right[:50]), iotest.ErrReader(broken)),
			"at the end":    io.MultiReader(bytes.NewReader(right), iotest.ErrReader(broken)),
		} {
			if after, err := Next(g, i, c.Before(i), r, nil); !errors.Is(err, broken) || after != (State{}) {
				t.Errorf("chunk %d, error %s: %x, %v", i, what, after, err)
			}
		}
		for what, r := range map[string]io.Reader{
			"byte by byte":     iotest.OneByteReader(bytes.NewReader(right)),
			"halves":           iotest.HalfReader(bytes.NewReader(right)),
			"EOF with the end": iotest.DataErrReader(bytes.NewReader(right)),
		} {
			if after, err := Next(g, i, c.Before(i), r, nil); err != nil || after != c.After(i) {
				t.Errorf("chunk %d, %s: %x, %v", i, what, after, err)
			}
		}
	}
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// A reader that breaks io.Reader's rules is an error, not an endless loop.
func TestNextGivesUpOnAReaderWithoutProgress(t *testing.T) {
	if _, err := Next(geometry(t, 100), 0, IV(), stuck{}, nil); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("Next on a stuck reader: %v", err)
	}
}

type stuck struct{}

func (stuck) Read([]byte) (int, error) { return 0, nil }

func TestNextRefusesChunksOutOfRange(t *testing.T) {
	g := geometry(t, blob.MinChunk+1)
	for _, i := range []blob.ChunkIndex{-1, 2, 1 << 30} {
		if _, err := Next(g, i, IV(), bytes.NewReader(nil), nil); !errors.Is(err, ErrChain) {
			t.Errorf("Next of chunk %d: %v", i, err)
		}
	}
}

func TestNewFixesTheLength(t *testing.T) {
	for _, size := range []blob.ByteCount{0, 1, blob.MinChunk, blob.MinChunk + 1, 10 * blob.MinChunk} {
		g := geometry(t, size)
		right := int(g.Chunks()) - 1
		for _, n := range []int{right - 1, right + 1, right + 100, 0} {
			if n < 0 || n == right {
				continue
			}
			if c, err := New(g, blob.Digest{1}, make([]State, n)); !errors.Is(err, ErrChain) || !c.IsZero() {
				t.Errorf("%d inner states for %d chunks: %v", n, g.Chunks(), err)
			}
		}
	}
}

func TestNewFixesTheEnds(t *testing.T) {
	g := geometry(t, 3*blob.MinChunk)
	inner := []State{{1}, {2}}
	c, err := New(g, blob.Digest{9}, inner)
	if err != nil {
		t.Fatal(err)
	}
	inner[0] = State{7} // the chain keeps its own
	want := []State{IV(), {1}, {2}, {9}}
	for i := range g.Chunks() {
		if c.Before(i) != want[i] || c.After(i) != want[i+1] {
			t.Errorf("link %d goes from %x to %x", i, c.Before(i), c.After(i))
		}
	}
	if got := c.Inner(); len(got) != 2 || got[0] != want[1] || got[1] != want[2] || c.IsZero() {
		t.Errorf("Inner() = %x", got)
	}
	if zero := (Chain{}); !zero.IsZero() || zero.Inner() != nil {
		t.Error("the zero Chain is a chain")
	}
}

func TestChainOfRandomBlobs(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		size := blob.ByteCount(rapid.Int64Range(0, int64(3*blob.MinChunk)).Draw(rt, "size"))
		g, p := geometry(t, size), content(size, rapid.Uint64().Draw(rt, "seed"))
		if got := build(t, g, p).After(g.Last()); got != State(sha256.Sum256(p)) {
			rt.Fatalf("%d bytes hash to %x", size, got)
		}
	})
}

func FuzzNext(f *testing.F) {
	f.Add([]byte{}, uint32(0), uint8(0))
	f.Add([]byte("abc"), uint32(3), uint8(1))
	f.Add(bytes.Repeat([]byte{0xff}, 65), uint32(blob.MinChunk+1), uint8(2))
	f.Fuzz(func(t *testing.T, pattern []byte, size uint32, at uint8) {
		size %= uint32(3*blob.MinChunk) + 2
		if len(pattern) == 0 {
			pattern = []byte{0}
		}
		p := bytes.Repeat(pattern, int(size)/len(pattern)+1)[:size]
		g := geometry(t, blob.ByteCount(size))
		c := build(t, g, p)
		if c.After(g.Last()) != State(sha256.Sum256(p)) {
			t.Fatalf("%d bytes: the chain does not end in the digest", size)
		}
		i := blob.ChunkIndex(at) % g.Chunks()
		if part := chunk(g, p, i); len(part) > 0 {
			part[int(at)%len(part)] ^= 1 << (at % 8)
			if next(t, g, i, c.Before(i), part) == c.After(i) {
				t.Fatalf("%d bytes: link %d holds with a flipped bit", size, i)
			}
		}
	})
}

// The buffer changes nothing but the size of the reads.
func TestNextThroughAnyBuffer(t *testing.T) {
	g := geometry(t, blob.MinChunk+777)
	p := content(g.Size(), 3)
	for i := range g.Chunks() {
		want := next(t, g, i, IV(), chunk(g, p, i))
		for _, length := range []int{1, 63, 64, 1000, 1 << 20} {
			buf := make([]byte, length)
			after, err := Next(g, i, IV(), bytes.NewReader(chunk(g, p, i)), buf)
			if err != nil || after != want {
				t.Errorf("chunk %d through %d bytes: %x, %v", i, length, after, err)
			}
			if _, err := Next(g, i, IV(), bytes.NewReader(p), buf); !errors.Is(err, ErrLength) {
				t.Errorf("a chunk that is too long, through %d bytes: %v", length, err)
			}
		}
	}
}
