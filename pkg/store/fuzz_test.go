package store

import (
	"bytes"
	"errors"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
)

func exampleState(size blob.ByteCount) []byte {
	g, err := blob.NewGeometry(size)
	if err != nil {
		panic(err)
	}
	p := header{digest: blob.Digest{1, 2, 3}, size: size, key: sumKey{4, 5, 6}}.encode()
	for i := range g.Chunks() {
		s := slot{origin: Origin(i % 3), sum: checksum{byte(i)}}
		p = append(p, s.encode(i)...)
	}
	return p
}

// Whatever lies in a state file, decoding neither panics nor invents a chunk, and what it
// returns is what would be written for it.
func FuzzState(f *testing.F) {
	whole := exampleState(3*blob.MinChunk + 1)
	for _, p := range [][]byte{
		nil, whole, whole[:stateHeader], whole[:len(whole)-slotSize-7], append(bytes.Clone(whole), "garbage"...),
		exampleState(0), bytes.Repeat([]byte{0xff}, 200), append(bytes.Clone(whole[:stateHeader]), make([]byte, 4*slotSize)...),
	} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		h, slots, err := decodeState(p)
		if err != nil {
			if !errors.Is(err, errState) {
				t.Fatal(err)
			}
			return
		}
		g, err := blob.NewGeometry(h.size)
		if err != nil || len(slots) != int(g.Chunks()) {
			t.Fatalf("%d slots, %v", len(slots), err)
		}
		if again, err := decodeHeader(h.encode()); err != nil || again != h {
			t.Fatalf("header: %v", err)
		}
		for i, s := range slots {
			at := stateHeader + i*slotSize
			if s.origin != 0 && (at+slotSize > len(p) || decodeSlot(p[at:at+slotSize], blob.ChunkIndex(i)) != s) {
				t.Fatalf("chunk %d is invented", i)
			}
			if decodeSlot(s.encode(blob.ChunkIndex(i)), blob.ChunkIndex(i)) != s {
				t.Fatalf("slot %d is another when written again", i)
			}
		}
	})
}

// A chain file is refused, or is exactly what would be written for what it says.
func FuzzChain(f *testing.F) {
	d := blob.Digest{9}
	for _, size := range []blob.ByteCount{0, 1, blob.MinChunk + 1, 3*blob.MinChunk + 1} {
		g, err := blob.NewGeometry(size)
		if err != nil {
			f.Fatal(err)
		}
		whole := encodeChain(d, g, make([]chain.State, g.Last()))
		f.Add(whole)
		f.Add(whole[:len(whole)-1])
		f.Add(append(bytes.Clone(whole), 0))
	}
	f.Add([]byte(chainMagic))
	f.Fuzz(func(t *testing.T, p []byte) {
		g, c, err := decodeChain(p, d)
		if err != nil {
			if !errors.Is(err, errChain) {
				t.Fatal(err)
			}
			return
		}
		if c.After(g.Last()) != chain.State(d) || c.Before(0) != chain.IV() {
			t.Fatal("the ends of the chain come from the file")
		}
		if !bytes.Equal(encodeChain(d, g, c.Inner()), p) {
			t.Fatal("another file says the same")
		}
	})
}

// One bit changed in a slot or header is seen, wherever it is.
func TestStateBitFlips(t *testing.T) {
	p := exampleState(2 * blob.MinChunk)
	h, slots, err := decodeState(p)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(p) {
		flipped := bytes.Clone(p)
		flipped[bit/8] ^= 1 << (bit % 8)
		gotH, got, err := decodeState(flipped)
		switch i := (bit/8 - stateHeader) / slotSize; {
		case bit/8 < len(stateMagic)+32+8+16+4:
			if err == nil {
				t.Fatalf("bit %d of the header is not seen", bit)
			}
		case bit/8 < stateHeader:
			if err != nil || gotH != h {
				t.Fatalf("bit %d of the padding: %v", bit, err)
			}
		case slots[i].origin != 0:
			if err != nil || got[i] != (slot{}) {
				t.Fatalf("bit %d of slot %d is not seen", bit, i)
			}
		}
	}
}

// Other bytes, another chunk and another key have another checksum, and reading in
// other pieces has not.
func TestChecksum(t *testing.T) {
	content := bytes.Repeat([]byte("shoal "), 70_000)
	n := blob.ByteCount(len(content))
	sum := func(key sumKey, i blob.ChunkIndex, p []byte) checksum {
		s, err := newSummer(key)
		if err != nil {
			t.Fatal(err)
		}
		var seen []byte
		out, err := s.copyChunk(i, blob.ByteCount(len(p)), bytes.NewReader(p), new(piece), func(b []byte, at int64) error {
			if at != int64(len(seen)) {
				t.Fatalf("piece at %d after %d bytes", at, len(seen))
			}
			seen = append(seen, b...)
			return nil
		})
		if err != nil || !bytes.Equal(seen, p) {
			t.Fatalf("bytes lost: %v", err)
		}
		return out
	}
	want := sum(sumKey{1}, 5, content)
	if sum(sumKey{1}, 5, content) != want {
		t.Fatal("not repeatable")
	}
	others := map[checksum]string{want: "the bytes"}
	add := func(what string, s checksum) {
		if same, ok := others[s]; ok {
			t.Errorf("%s and %s have one checksum", what, same)
		}
		others[s] = what
	}
	add("another key", sum(sumKey{2}, 5, content))
	add("another chunk", sum(sumKey{1}, 6, content))
	add("shorter", sum(sumKey{1}, 5, content[:n-1]))
	add("nothing", sum(sumKey{1}, 5, nil))
	add("nothing of another chunk", sum(sumKey{1}, 6, nil))
	for _, at := range []int{0, pieceSize - 1, pieceSize, 2*pieceSize + 1, len(content) - 1} {
		flipped := bytes.Clone(content)
		flipped[at] ^= 1
		add("a flipped bit", sum(sumKey{1}, 5, flipped))
	}
	swapped := append(bytes.Clone(content[pieceSize:2*pieceSize]), content[:pieceSize]...)
	add("pieces swapped", sum(sumKey{1}, 5, append(swapped, content[2*pieceSize:]...)))
}
