package blob

import (
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"slices"
)

// ErrBitset is wrapped by BitsetFromBytes for bytes that are no bitset of that length.
var ErrBitset = errors.New("malformed bitset")

// A Bitset is a set of the chunks of one blob. The zero value is a set that can
// hold no chunk. It is not safe for concurrent use.
//
// What takes a second set looks at whole words of 64 chunks. The two may be of different
// lengths: chunks that a set cannot hold are not in it, and are not put into it.
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
	for at := range b.words {
		b.words[at] = ^uint64(0)
	}
	b.trim()
	return b
}

// trim takes out what lies beyond the end.
func (b Bitset) trim() {
	if rest := b.n % 64; rest != 0 {
		b.words[len(b.words)-1] &= 1<<rest - 1
	}
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

// AddAll puts every chunk of o into the set and returns how many were not there.
func (b Bitset) AddAll(o Bitset) (added ChunkIndex) {
	before := b.Count()
	for at := range min(len(b.words), len(o.words)) {
		b.words[at] |= o.words[at]
	}
	if o.n > b.n {
		b.trim()
	}
	return b.Count() - before
}

// RemoveAll takes every chunk of o out of the set.
func (b Bitset) RemoveAll(o Bitset) {
	for at := range min(len(b.words), len(o.words)) {
		b.words[at] &^= o.words[at]
	}
}

// KeepAll takes every chunk out of the set that is not in o.
func (b Bitset) KeepAll(o Bitset) {
	for at := range b.words {
		b.words[at] &= o.word(at)
	}
}

// Clear takes every chunk out of the set.
func (b Bitset) Clear() { clear(b.words) }

// word is the at-th word; beyond the end there is nothing.
func (b Bitset) word(at int) uint64 {
	if at >= len(b.words) {
		return 0
	}
	return b.words[at]
}

// Count is the number of chunks in the set.
func (b Bitset) Count() ChunkIndex {
	var n int
	for _, w := range b.words {
		n += bits.OnesCount64(w)
	}
	return ChunkIndex(n)
}

// Empty reports whether no chunk is in the set.
func (b Bitset) Empty() bool {
	return !slices.ContainsFunc(b.words, func(w uint64) bool { return w != 0 })
}

// Full reports whether every chunk is in the set.
func (b Bitset) Full() bool { return b.Count() == b.n }

// Equal reports whether both can hold the same chunks and do.
func (b Bitset) Equal(o Bitset) bool { return b.n == o.n && slices.Equal(b.words, o.words) }

// Within reports whether every chunk of the set is in o.
func (b Bitset) Within(o Bitset) bool {
	for at, w := range b.words {
		if w&^o.word(at) != 0 {
			return false
		}
	}
	return true
}

// Meets reports whether some chunk is in both sets.
func (b Bitset) Meets(o Bitset) bool {
	for at, w := range b.words {
		if w&o.word(at) != 0 {
			return true
		}
	}
	return false
}

// All yields the chunks of the set in ascending order.
func (b Bitset) All() iter.Seq[ChunkIndex] {
	return func(yield func(ChunkIndex) bool) {
		for at, w := range b.words {
			for ; w != 0; w &= w - 1 {
				if !yield(ChunkIndex(at*64 + bits.TrailingZeros64(w))) {
					return
				}
			}
		}
	}
}

// And yields the chunks that are in both sets in ascending order.
func (b Bitset) And(o Bitset) iter.Seq[ChunkIndex] {
	return b.ascend(func(at int) uint64 { return b.words[at] & o.word(at) })
}

// AndNot yields the chunks of the set that are not in o in ascending order.
func (b Bitset) AndNot(o Bitset) iter.Seq[ChunkIndex] {
	return b.ascend(func(at int) uint64 { return b.words[at] &^ o.word(at) })
}

// Backward yields the chunks of the set in descending order: tail first.
func (b Bitset) Backward() iter.Seq[ChunkIndex] {
	return func(yield func(ChunkIndex) bool) {
		for at, w := range slices.Backward(b.words) {
			for w != 0 {
				top := bits.Len64(w) - 1
				if !yield(ChunkIndex(at*64 + top)) {
					return
				}
				w &^= 1 << top
			}
		}
	}
}

// ascend yields the chunks of b's words, as the function changes them, in ascending order.
func (b Bitset) ascend(word func(at int) uint64) iter.Seq[ChunkIndex] {
	return func(yield func(ChunkIndex) bool) {
		for at := range b.words {
			for w := word(at); w != 0; w &= w - 1 {
				if !yield(ChunkIndex(at*64 + bits.TrailingZeros64(w))) {
					return
				}
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

// Words is the number of Words that hold the set.
func (b Bitset) Words() int { return len(b.words) }

// Word holds the chunks 64k to 64k+63, the first as the lowest bit: for those who look
// through several sets at once. k is below Words.
func (b Bitset) Word(k int) uint64 { return b.words[k] }
