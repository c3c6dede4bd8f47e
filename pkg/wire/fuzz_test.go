package wire

import (
	"bytes"
	"errors"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
)

// fuzzSizes are blobs of 1, 3, 21, 257 and 65,536 chunks.
func fuzzSizes() []blob.ByteCount {
	return []blob.ByteCount{0, 2*blob.MinChunk + 1, 20*blob.MinChunk + 5, 64*blob.MiB + 1, blob.MaxSize}
}

// What is accepted is encoded to the very bytes it was read from: there is one encoding only.
func FuzzDecode(f *testing.F) {
	for at, size := range fuzzSizes() {
		g := geometry(f, size)
		seeds := []Message{
			Hello{Blob: blob.Digest{1}, Size: size},
			Have{Chunks: blob.NewBitset(g.Chunks())},
			Have{Chunks: setOf(g.Chunks(), 0, g.Last())},
			Ask{Chunk: g.Last()},
			Cancel{},
			Busy{},
			Chunk{Chunk: g.Last(), Length: Piece(g.Length(g.Last()))},
			Reading{},
			Reading{Spans: []Span{{0, 1}, {g.Last(), 1}}[:min(2, g.Chunks())]},
			Peers{Contacts: []Contact{{Peer: "a"}, {Peer: "b", Addresses: [][]byte{{1}, {2, 3}}}}},
		}
		if g.Chunks() < 1000 {
			seeds = append(seeds, Have{Chunks: blob.FullBitset(g.Chunks())}, Chain{Inner: make([]chain.State, g.Last())})
		}
		for _, m := range seeds {
			f.Add(uint8(at), payloadOf(f, m, g))
		}
	}
	f.Fuzz(func(t *testing.T, at uint8, payload []byte) {
		sizes := fuzzSizes()
		g := geometry(t, sizes[int(at)%len(sizes)])
		m, err := Decode(payload, g)
		if err != nil {
			if !errors.Is(err, ErrMalformed) || m != nil {
				t.Fatalf("%#v, %v", m, err)
			}
			return
		}
		again := payloadOf(t, m, g)
		if !bytes.Equal(again, payload) {
			t.Fatalf("%x is read as %#v and written as %x", payload, m, again)
		}
	})
}

// A stream of frames is read to its end or to an error, and frames come back as they were sent.
func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{}, uint16(10))
	f.Add([]byte{2, 0x1a, 0, 4, 0x1a, 2, 8, 0x14}, uint16(100))
	f.Add([]byte{0x80, 0x80, 0x80, 0x80, 0x01}, uint16(100))
	f.Add([]byte{0x81, 0x00, 0x01}, uint16(1))
	f.Fuzz(func(t *testing.T, stream []byte, limit uint16) {
		r := bytes.NewReader(stream)
		var again []byte
		for {
			rest := r.Len()
			payload, err := ReadFrame(r, int(limit), nil)
			if err != nil {
				break
			}
			if len(payload) == 0 || len(payload) > int(limit) {
				t.Fatalf("payload of %d bytes, limit %d", len(payload), limit)
			}
			var head []byte
			for n := len(payload); ; n >>= 7 {
				if n < 0x80 {
					head = append(head, byte(n))
					break
				}
				head = append(head, byte(n)|0x80)
			}
			if rest-r.Len() != len(head)+len(payload) {
				t.Fatalf("a frame of %d bytes took %d", len(payload), rest-r.Len())
			}
			again = append(append(again, head...), payload...)
		}
		if !bytes.HasPrefix(stream, again) {
			t.Fatalf("%x is read as %x", stream, again)
		}
	})
}
