package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
)

func geometry(tb testing.TB, size blob.ByteCount) blob.Geometry {
	tb.Helper()
	g, err := blob.NewGeometry(size)
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

// setOf is the set of these chunks out of n.
func setOf(n blob.ChunkIndex, chunks ...blob.ChunkIndex) blob.Bitset {
	set := blob.NewBitset(n)
	for _, i := range chunks {
		set.Add(i)
	}
	return set
}

// payloadOf encodes m and takes the length off.
func payloadOf(tb testing.TB, m Message, g blob.Geometry) []byte {
	tb.Helper()
	frame, err := Append(nil, m, g)
	if err != nil {
		tb.Fatalf("Append(%#v): %v", m, err)
	}
	length, n := protowire.ConsumeVarint(frame)
	if n < 0 || int(length) != len(frame)-n {
		tb.Fatalf("frame of %#v says %d of %d bytes", m, length, len(frame)-n)
	}
	return frame[n:]
}

func same(a, b Message) bool {
	if x, ok := a.(Have); ok {
		y, ok := b.(Have)
		return ok && x.Chunks.Len() == y.Chunks.Len() && slices.Equal(x.Chunks.Bytes(), y.Chunks.Bytes())
	}
	return reflect.DeepEqual(a, b)
}

// The bytes are the protocol: a change here is a change of its number.
func TestEncodings(t *testing.T) {
	g := geometry(t, 20*blob.MinChunk+5) // 21 chunks
	three := geometry(t, 2*blob.MinChunk+1)
	digest := blob.Digest(bytes.Repeat([]byte{0xab}, 32))
	for _, c := range []struct {
		m    Message
		g    blob.Geometry
		want string
	}{
		{Hello{Blob: digest}, g, "24 0a22 0a20" + strings.Repeat("ab", 32)},
		{Hello{Blob: digest, Size: 300}, g, "27 0a25 0a20" + strings.Repeat("ab", 32) + "10ac02"},
		{Have{Chunks: setOf(21)}, g, "02 1200"},
		{Have{Chunks: setOf(21, 0)}, g, "05 1203 120100"},
		{Have{Chunks: setOf(21, 3, 20)}, g, "06 1204 12020310"},
		{Have{Chunks: setOf(21, 3, 4, 20)}, g, "07 1205 0a03180010"},
		{Have{Chunks: blob.FullBitset(21)}, g, "07 1205 0a03ffff1f"},
		{Ask{Chunk: 0}, g, "02 1a00"},
		{Ask{Chunk: 20}, g, "04 1a02 0814"},
		{Cancel{Chunk: 1}, g, "04 2202 0801"},
		{Chunk{Chunk: 0, Length: MaxPiece}, g, "06 2a04 1080e401"},
		{Chunk{Chunk: 19, Length: 14 * blob.KiB}, g, "07 2a05 0813108070"},
		{Chunk{Chunk: 20, Length: 5}, g, "06 2a04 08141005"},
		{Chunk{}, blob.Geometry{}, "02 2a00"},
		{Busy{Chunk: 7}, g, "04 3202 0807"},
		{Chain{}, blob.Geometry{}, "02 3a00"},
		{Chain{Inner: []chain.State{{1}, {2}}}, three, "44 3a42 0a40 01" + strings.Repeat("00", 31) + "02" + strings.Repeat("00", 31)},
		{Peers{}, g, "02 4200"},
		{
			Peers{Contacts: []Contact{{Peer: "me"}, {Peer: "you", Addresses: [][]byte{{1, 2}, {3}}}}},
			g,
			"16 4214 0a04 0a026d65 0a0c 0a03796f75 12020102 120103",
		},
		{Reading{}, g, "02 4a00"},
		{Reading{Spans: []Span{{0, 21}}}, g, "06 4a04 0a02 1015"},
		{Reading{Spans: []Span{{0, 2}, {2, 1}, {20, 1}}}, g, "12 4a10 0a02 1002 0a04 08021001 0a04 08141001"},
	} {
		frame, err := Append(nil, c.m, c.g)
		if err != nil {
			t.Errorf("%#v: %v", c.m, err)
			continue
		}
		if want := strings.ReplaceAll(c.want, " ", ""); hex.EncodeToString(frame) != want {
			t.Errorf("%#v is\n%x, want\n%s", c.m, frame, want)
		}
		if back, err := Decode(frame[1:], c.g); err != nil || !same(back, c.m) {
			t.Errorf("%#v comes back as %#v, %v", c.m, back, err)
		}
	}
}

func messages(g blob.Geometry) *rapid.Generator[Message] {
	return rapid.Custom(func(t *rapid.T) Message {
		i := blob.ChunkIndex(rapid.Int32Range(0, int32(g.Last())).Draw(t, "chunk"))
		raw := func(most int) *rapid.Generator[[]byte] { return rapid.SliceOfN(rapid.Byte(), 1, most) }
		switch rapid.IntRange(0, 8).Draw(t, "kind") {
		case 0:
			m := Hello{Size: blob.ByteCount(rapid.Int64Range(0, int64(blob.MaxSize)).Draw(t, "size"))}
			copy(m.Blob[:], rapid.SliceOfN(rapid.Byte(), 31, 31).Draw(t, "digest"))
			m.Blob[31] = 1
			return m
		case 1:
			chunks := blob.NewBitset(g.Chunks())
			if rapid.Bool().Draw(t, "full") {
				chunks = blob.FullBitset(g.Chunks())
			}
			for _, i := range rapid.SliceOf(rapid.Int32Range(0, int32(g.Last()))).Draw(t, "chunks") {
				if chunks.Has(blob.ChunkIndex(i)) {
					chunks.Remove(blob.ChunkIndex(i))
				} else {
					chunks.Add(blob.ChunkIndex(i))
				}
			}
			return Have{Chunks: chunks}
		case 2:
			return Ask{Chunk: i}
		case 3:
			return Cancel{Chunk: i}
		case 4:
			length := Piece(g.Length(i))
			if rapid.Bool().Draw(t, "last") {
				length = lastPiece(g.Length(i))
			}
			return Chunk{Chunk: i, Length: length}
		case 5:
			return Busy{Chunk: i}
		case 6:
			var m Chain
			for n := range g.Last() {
				m.Inner = append(m.Inner, chain.State{byte(n), byte(n >> 8), 0xff})
			}
			return m
		case 7:
			var m Reading
			for next := blob.ChunkIndex(0); len(m.Spans) < MaxSpans && next < g.Chunks() && rapid.Bool().Draw(t, "more"); {
				first := blob.ChunkIndex(rapid.Int32Range(int32(next), int32(g.Last())).Draw(t, "first"))
				next = blob.ChunkIndex(rapid.Int32Range(int32(first)+1, int32(g.Chunks())).Draw(t, "end"))
				m.Spans = append(m.Spans, Span{First: first, Count: next - first})
			}
			return m
		default:
			var m Peers
			for range rapid.IntRange(0, MaxContacts).Draw(t, "contacts") {
				c := Contact{Peer: string(raw(MaxPeerID).Draw(t, "peer"))}
				for range rapid.IntRange(0, MaxAddresses).Draw(t, "addresses") {
					c.Addresses = append(c.Addresses, raw(30).Draw(t, "address"))
				}
				m.Contacts = append(m.Contacts, c)
			}
			return m
		}
	})
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := blob.ByteCount(rapid.OneOf(rapid.Int64Range(0, int64(100*blob.MiB)), rapid.Int64Range(0, int64(40*blob.GiB))).Draw(t, "size"))
		g, err := blob.NewGeometry(size)
		if err != nil {
			t.Fatal(err)
		}
		sent := rapid.SliceOfN(messages(g), 1, 4).Draw(t, "messages")
		stream := []byte("before")
		for _, m := range sent {
			if stream, err = Append(stream, m, g); err != nil {
				t.Fatal(err)
			}
		}
		r := bytes.NewReader(stream[len("before"):])
		var buf [100]byte
		for _, want := range sent {
			payload, err := ReadFrame(r, MaxFrame(g), buf[:])
			if err != nil {
				t.Fatal(err)
			}
			got, err := Decode(payload, g)
			if err != nil {
				t.Fatal(err)
			}
			clear(payload) // the message keeps nothing of it
			if !same(got, want) {
				t.Fatalf("%#v comes back as %#v", want, got)
			}
		}
		if _, err := ReadFrame(r, MaxFrame(g), nil); err != io.EOF { //nolint:errorlint // io.EOF itself is promised
			t.Fatalf("after the last frame: %v", err)
		}
	})
}

func TestDecodeRefuses(t *testing.T) {
	g := geometry(t, 20*blob.MinChunk+5) // 21 chunks, 3 bytes of bitset
	ones := strings.Repeat("01", 32)
	for what, raw := range map[string]string{
		"nothing":                    "",
		"a tag alone":                "1a",
		"a length that is too long":  "1a03 0801",
		"bytes behind the message":   "1a02 0801 00",
		"two messages":               "1a02 0801 1a02 0802",
		"message 0":                  "0200",
		"message 10":                 "5200",
		"message of another kind":    "1801",
		"a group":                    "1b1c",
		"a long tag":                 "9a00 00",
		"a long length":              "1a8200 0801",
		"a long number":              "1a03 088100",
		"zero written out":           "1a02 0800",
		"an unknown field":           "1a02 1001",
		"a field twice":              "1a04 0801 0801",
		"a number that never ends":   "1a0b 08ffffffffffffffffffff",
		"a chunk beyond the blob":    "1a02 0815",
		"a chunk beyond 31 bits":     "1a06 088080808008",
		"a chunk of 64 bits":         "1a0b 08ffffffffffffffffff01",
		"cancel beyond the blob":     "2202 0815",
		"busy beyond the blob":       "3202 0815",
		"a chunk beyond its header":  "2a04 08151005",
		"a chunk one byte short":     "2a04 08141004",
		"a chunk without length":     "2a02 0814",
		"a chunk longer than any":    "2a06 081410858002",
		"a piece longer than any":    "2a06 08131081e401",
		"chunk fields out of order":  "2a04 10050814",
		"hello without digest":       "0a02 1001",
		"hello with a zero digest":   "0a22 0a20" + strings.Repeat("00", 32),
		"hello with a short digest":  "0a21 0a1f" + strings.Repeat("01", 31),
		"hello with a long digest":   "0a23 0a21" + strings.Repeat("01", 33),
		"hello with size zero":       "0a24 0a20" + ones + "1000",
		"hello with too large a one": "0a29 0a20" + ones + "10818080808008",
		"hello with a negative one":  "0a2d 0a20" + ones + "10ffffffffffffffffff01",
		"hello fields out of order":  "0a24 1001 0a20" + ones,
		"a bitset one byte short":    "1204 0a020f0f",
		"a bitset one byte long":     "1206 0a04ffffff00",
		"a bit beyond the blob":      "1205 0a03ffffff",
		"a sparse bitset":            "1205 0a03010000",
		"an empty bitset":            "1202 0a00",
		"a bitset of nothing":        "1205 0a03000000",
		"a bitset and increments":    "1208 0a03ffff1f 120100",
		"empty increments":           "1202 1200",
		"increments like a bitset":   "1205 1203000000",
		"increments beyond the blob": "1203 120115",
		"increments adding up":       "1204 12020a0a",
		"increments with a gap":      "1204 1202 8000",
		"increments cut off":         "1203 1201 80",
		"a chain one state short":    "3ae404 0ae004" + strings.Repeat("01", 19*32+0),
		"no chain":                   "3a00",
		"an empty chain":             "3a02 0a00",
		"a contact without a peer":   "4202 0a00",
		"an empty peer":              "4204 0a02 0a00",
		"a peer that is too long":    "4245 0a43 0a41" + strings.Repeat("01", MaxPeerID+1),
		"an address without a peer":  "4205 0a03 120101",
		"an empty address":           "4207 0a05 0a0101 1200",
		"a contact with more":        "4207 0a05 0a0101 1801",
		"a contact with two peers":   "4208 0a06 0a0101 0a0101",
		"an empty span":              "4a02 0a00",
		"a span of no chunks":        "4a04 0a02 0801",
		"a count of zero":            "4a06 0a04 08011000",
		"a first of zero":            "4a06 0a04 08001001",
		"a span out of order":        "4a06 0a04 10010801",
		"a span with more":           "4a08 0a06 080110011801",
		"a span beyond the blob":     "4a06 0a04 08141002",
		"a span behind the blob":     "4a06 0a04 08151001",
		"a span of 2^31 chunks":      "4a0a 0a08 0801108080808008",
		"a span of 2^31-1 chunks":    "4a0a 0a08 080110ffffffff07",
		"spans that overlap":         "4a0a 0a02 1002 0a04 08011001",
		"a span twice":               "4a08 0a02 1001 0a02 1001",
		"spans that descend":         "4a0a 0a04 08021001 0a02 1001",
		"five spans":                 "4a1c 0a02 1001 0a04 08021001 0a04 08041001 0a04 08061001 0a04 08081001",
		"a number among spans":       "4a02 0801",
		"an address that is long":    "428a02 0a8702 0a0101 128102" + strings.Repeat("01", MaxAddress+1),
	} {
		p, err := hex.DecodeString(strings.ReplaceAll(raw, " ", ""))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if m, err := Decode(p, g); !errors.Is(err, ErrMalformed) || m != nil {
			t.Errorf("%s: %#v, %v", what, m, err)
		}
	}
}

// What is refused at one end cannot be sent from the other, and the reverse.
func TestLimits(t *testing.T) {
	g := geometry(t, 20*blob.MinChunk+5)
	contacts := func(n int) (list []Contact) {
		for range n {
			list = append(list, Contact{Peer: "x"})
		}
		return list
	}
	addresses := func(n, size int) []Contact {
		c := Contact{Peer: strings.Repeat("x", MaxPeerID)}
		for range n {
			c.Addresses = append(c.Addresses, make([]byte, size))
		}
		return []Contact{c}
	}
	for _, c := range []struct {
		fits bool
		m    Message
	}{
		{true, Hello{Blob: blob.Digest{1}, Size: blob.MaxSize}},
		{false, Hello{Blob: blob.Digest{1}, Size: blob.MaxSize + 1}},
		{false, Hello{Blob: blob.Digest{1}, Size: -1}},
		{false, Hello{Size: 1}},
		{true, Have{Chunks: setOf(21, 20)}},
		{false, Have{Chunks: setOf(22, 21)}},
		{false, Have{Chunks: blob.FullBitset(13)}},
		{false, Have{}},
		{true, Ask{Chunk: 20}},
		{false, Ask{Chunk: 21}},
		{false, Ask{Chunk: -1}},
		{true, Cancel{Chunk: 20}},
		{false, Cancel{Chunk: 21}},
		{true, Busy{Chunk: 20}},
		{false, Busy{Chunk: 21}},
		{true, Chunk{Chunk: 19, Length: MaxPiece}},
		{true, Chunk{Chunk: 19, Length: blob.MinChunk % MaxPiece}},
		{true, Chunk{Chunk: 20, Length: 5}},
		{false, Chunk{Chunk: 20, Length: 6}},
		{false, Chunk{Chunk: 19, Length: blob.MinChunk}},
		{false, Chunk{Chunk: 19, Length: MaxPiece - 1}},
		{false, Chunk{Chunk: 19, Length: blob.MinChunk%MaxPiece + 1}},
		{false, Chunk{Chunk: 19}},
		{false, Chunk{Chunk: 21}},
		{true, Chain{Inner: make([]chain.State, 20)}},
		{false, Chain{Inner: make([]chain.State, 19)}},
		{false, Chain{Inner: make([]chain.State, 21)}},
		{false, Chain{}},
		{true, Peers{Contacts: contacts(MaxContacts)}},
		{false, Peers{Contacts: contacts(MaxContacts + 1)}},
		{true, Peers{Contacts: addresses(MaxAddresses, MaxAddress)}},
		{false, Peers{Contacts: addresses(MaxAddresses+1, 1)}},
		{false, Peers{Contacts: addresses(1, MaxAddress+1)}},
		{false, Peers{Contacts: addresses(1, 0)}},
		{false, Peers{Contacts: []Contact{{}}}},
		{false, Peers{Contacts: []Contact{{Peer: strings.Repeat("x", MaxPeerID+1)}}}},
		{true, Reading{Spans: []Span{{0, 1}, {1, 18}, {19, 1}, {20, 1}}}},
		{false, Reading{Spans: []Span{{0, 1}, {2, 1}, {4, 1}, {6, 1}, {8, 1}}}},
		{false, Reading{Spans: []Span{{0, 22}}}},
		{false, Reading{Spans: []Span{{21, 1}}}},
		{false, Reading{Spans: []Span{{1, 1<<31 - 1}}}},
		{false, Reading{Spans: []Span{{3, 0}}}},
		{false, Reading{Spans: []Span{{-1, 2}}}},
		{false, Reading{Spans: []Span{{3, -1}}}},
		{false, Reading{Spans: []Span{{0, 2}, {1, 2}}}},
		{false, Reading{Spans: []Span{{2, 2}, {0, 2}}}},
	} {
		frame, err := Append([]byte("x"), c.m, g)
		if c.fits != (err == nil) || err != nil && (!errors.Is(err, ErrMalformed) || string(frame) != "x") {
			t.Errorf("Append(%T) = %q, %v", c.m, frame, err)
		}
		if !c.fits {
			// As another node might send it all the same.
			b := bodyOf(c.m)
			raw := protowire.AppendVarint(protowire.AppendTag(nil, protowire.Number(b.field), protowire.BytesType), uint64(b.size()))
			if m, err := Decode(b.append(raw), g); !errors.Is(err, ErrMalformed) {
				t.Errorf("Decode(%#v) = %#v, %v", c.m, m, err)
			}
		}
	}
}

// The largest messages there are fit their frame, and nothing larger is looked at.
func TestMaxFrame(t *testing.T) {
	contact := Contact{Peer: strings.Repeat("x", MaxPeerID), Addresses: slices.Repeat([][]byte{make([]byte, MaxAddress)}, MaxAddresses)}
	peers := Peers{Contacts: slices.Repeat([]Contact{contact}, MaxContacts)}
	for _, size := range []blob.ByteCount{0, 1, blob.MinChunk + 1, blob.GiB, 40 * blob.GiB, blob.MaxSize} {
		g := geometry(t, size)
		largest := 0
		for _, m := range []Message{
			Hello{Blob: blob.Digest{1}, Size: blob.MaxSize},
			Have{Chunks: blob.FullBitset(g.Chunks())},
			Chain{Inner: make([]chain.State, g.Last())},
			peers,
		} {
			p := payloadOf(t, m, g)
			if _, err := Decode(p, g); err != nil {
				t.Errorf("%d bytes, %T: %v", size, m, err)
			}
			largest = max(largest, len(p))
		}
		if largest != MaxFrame(g) {
			t.Errorf("%d bytes: the largest message has %d bytes, the largest frame %d", size, largest, MaxFrame(g))
		}
		if _, err := Decode(make([]byte, MaxFrame(g)+1), g); !errors.Is(err, ErrMalformed) {
			t.Errorf("%d bytes: a payload beyond the largest: %v", size, err)
		}
	}
	if n := len(payloadOf(t, Hello{Blob: blob.Digest{1}, Size: blob.MaxSize}, blob.Geometry{})); n != MaxHello {
		t.Errorf("the largest hello has %d bytes, MaxHello is %d", n, MaxHello)
	}
	if most := MaxFrame(geometry(t, blob.MaxSize)); most < 65535*32 || most > 65535*32+16 {
		t.Errorf("the largest frame of all has %d bytes", most)
	}
}
