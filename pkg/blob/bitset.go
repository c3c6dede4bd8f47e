package blob

import (
	"errors"
	"fmt"
	"iter"
	"math/bits"
)

// ErrBitset is wrapped by BitsetFromBytes for bytes that are no bitset of that length.
var ErrBitset = errors.New("malformed bitset")

// A Bitset is a set of the chunks of one blob. The zero value is a set that can
// hold no chunk. It is not safe for concurrent use.
type Bitset struct {
	words []uint64
	n     ChunkIndex
}

// NewBitset returns an empty set for the chunks 0 to n-1.
func NewBitset(n ChunkIndex) Bitset {
	return Bitset{words: make([]uint64, (int(n)+63)/64), n: n}
}

// FullBitset returns the set of all chunks 0 to n-1.
func FullBitset(n ChunkIndex) Bitset {
	b := NewBitset(n)
	for i := range n {
		b.Add(i)
	}
	return b
}

// Len is the number of chunks the set can hold.
func (b Bitset) Len() ChunkIndex { return b.n }

// Has reports whether i is in the set; an i out of range is not.
func (b Bitset) Has(i ChunkIndex) bool {
	return i >= 0 && i < b.n && b.words[i/64]&(1<<(i%64)) != 0
}

// Add puts i into the set and reports whether it was not there. An i out of range is ignored.
func (b Bitset) Add(i ChunkIndex) bool {
	if i < 0 || i >= b.n || b.Has(i) {
		return false
	}
	b.words[i/64] |= 1 << (i % 64)
	return true
}

// Remove takes i out of the set.
func (b Bitset) Remove(i ChunkIndex) {
	if b.Has(i) {
		b.words[i/64] &^= 1 << (i % 64)
	}
}

// Count is the number of chunks in the set.
func (b Bitset) Count() ChunkIndex {
	var n int
	for _, w := range b.words {
		n += bits.OnesCount64(w)
	}
	return ChunkIndex(n)
}

// Full reports whether every chunk is in the set.
func (b Bitset) Full() bool { return b.Count() == b.n }

// All yields the chunks of the set in ascending order.
func (b Bitset) All() iter.Seq[ChunkIndex] {
	return func(yield func(ChunkIndex) bool) {
		for w, word := range b.words {
			for word != 0 {
				i := ChunkIndex(w*64 + bits.TrailingZeros64(word))
				if !yield(i) {
					return
				}
				word &= word - 1
			}
		}
	}
}

// Clone returns a set that shares nothing with b.
func (b Bitset) Clone() Bitset {
	return Bitset{words: append([]uint64(nil), b.words...), n: b.n}
}

// Bytes encodes the set for the wire: chunk i is bit i%8 of byte i/8.
func (b Bitset) Bytes() []byte {
	out := make([]byte, (int(b.n)+7)/8)
	for i := range b.All() {
		out[i/8] |= 1 << (i % 8)
	}
	return out
}

// BitsetFromBytes decodes what Bytes wrote for n chunks. It refuses another length
// and bits beyond the end, so that a set has one encoding only.
func BitsetFromBytes(p []byte, n ChunkIndex) (Bitset, error) {
	if len(p) != (int(n)+7)/8 {
		return Bitset{}, fmt.Errorf("%w: %d bytes for %d chunks", ErrBitset, len(p), n)
	}
	b := NewBitset(n)
	for at, octet := range p {
		for octet != 0 {
			i := ChunkIndex(at*8 + bits.TrailingZeros8(octet))
			if i >= n {
				return Bitset{}, fmt.Errorf("%w: chunk %d of %d", ErrBitset, i, n)
			}
			b.Add(i)
			octet &= octet - 1
		}
	}
	return b, nil
}
