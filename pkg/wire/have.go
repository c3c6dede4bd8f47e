package wire

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/shoal-project/shoal/pkg/blob"
)

const (
	bitsetField     protowire.Number = 1
	incrementsField protowire.Number = 2
)

func haveBody(m Have) body {
	inBits, inIncrements := (int(m.Chunks.Len())+7)/8, incrementsSize(m.Chunks)
	if inIncrements < inBits {
		return body{
			haveField,
			func() int { return optionalSize(inIncrements) },
			func(b []byte) []byte {
				if inIncrements == 0 {
					return b
				}
				b = protowire.AppendTag(b, incrementsField, protowire.BytesType)
				b = protowire.AppendVarint(b, uint64(inIncrements))
				for gap := range increments(m.Chunks) {
					b = protowire.AppendVarint(b, gap)
				}
				return b
			},
		}
	}
	return body{
		haveField,
		func() int { return optionalSize(inBits) },
		func(b []byte) []byte { return appendBytes(b, bitsetField, m.Chunks.Bytes()) },
	}
}

// increments yields the first chunk and then the number of chunks left out before each other.
func increments(chunks blob.Bitset) func(yield func(uint64) bool) {
	return func(yield func(uint64) bool) {
		next := blob.ChunkIndex(0)
		for i := range chunks.All() {
			if !yield(uint64(i - next)) {
				return
			}
			next = i + 1
		}
	}
}

func incrementsSize(chunks blob.Bitset) int {
	n := 0
	for gap := range increments(chunks) {
		n += protowire.SizeVarint(gap)
	}
	return n
}

func decodeHave(p *parser, g blob.Geometry) (Message, error) {
	if raw, ok := p.bytes(bitsetField); ok {
		chunks, err := blob.BitsetFromBytes(raw, g.Chunks())
		if err != nil {
			return nil, malformed("have: %v", err)
		}
		if incrementsSize(chunks) < len(raw) {
			return nil, malformed("have: bitset where increments are shorter")
		}
		return Have{Chunks: chunks}, nil
	}
	chunks := blob.NewBitset(g.Chunks())
	raw, ok := p.bytes(incrementsField)
	if !ok {
		return Have{Chunks: chunks}, nil
	}
	if len(raw) == 0 || len(raw) >= bitsetSize(g) {
		return nil, malformed("have: %d bytes of increments for %d chunks", len(raw), g.Chunks())
	}
	next := uint64(0)
	for list := (parser{rest: raw}); len(list.rest) > 0; {
		gap := list.varint()
		if list.bad || gap >= uint64(g.Chunks()) || next+gap >= uint64(g.Chunks()) {
			return nil, malformed("have: increments beyond %d chunks", g.Chunks())
		}
		chunks.Add(blob.ChunkIndex(next + gap))
		next += gap + 1
	}
	return Have{Chunks: chunks}, nil
}
