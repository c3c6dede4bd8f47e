package blob

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// modelSet is the slow obvious set.
type modelSet map[ChunkIndex]bool

func (m modelSet) bytes(n ChunkIndex) []byte {
	out := make([]byte, (n+7)/8)
	for i := range n {
		if m[i] {
			out[i/8] += 1 << (i % 8)
		}
	}
	return out
}

func TestBitsetAgreesWithMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := ChunkIndex(rapid.Int32Range(0, 300).Draw(t, "n"))
		index := rapid.Int32Range(-3, int32(n)+70)
		set, model := NewBitset(n), modelSet{}
		if rapid.Bool().Draw(t, "full") {
			set = FullBitset(n)
			for i := range n {
				model[i] = true
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				i := ChunkIndex(index.Draw(t, "i"))
				fresh := i >= 0 && i < n && !model[i]
				if got := set.Add(i); got != fresh {
					t.Fatalf("Add(%d) = %t, want %t", i, got, fresh)
				}
				if fresh {
					model[i] = true
				}
			},
			"remove": func(t *rapid.T) {
				i := ChunkIndex(index.Draw(t, "i"))
				set.Remove(i)
				delete(model, i)
			},
			"clone": func(*rapid.T) {
				old := set
				set = set.Clone()
				for i := range n { // what becomes of the old one is nothing to the clone
					if old.Has(i) {
						old.Remove(i)
					} else {
						old.Add(i)
					}
				}
			},
			"decode": func(t *rapid.T) {
				again, err := BitsetFromBytes(set.Bytes(), n)
				if err != nil {
					t.Fatal(err)
				}
				set = again
			},
			"": func(t *rapid.T) { compare(t, set, model, n) },
		})
	})
}

func compare(t *rapid.T, set Bitset, model modelSet, n ChunkIndex) {
	if set.Len() != n || set.Count() != ChunkIndex(len(model)) || set.Full() != (len(model) == int(n)) {
		t.Fatalf("Len %d, Count %d, Full %t; want %d of %d", set.Len(), set.Count(), set.Full(), len(model), n)
	}
	if got, want := slices.Collect(set.All()), slices.Sorted(maps.Keys(model)); !slices.Equal(got, want) {
		t.Fatalf("All() = %v, want %v", got, want)
	}
	for i := ChunkIndex(-2); i < n+70; i++ {
		if set.Has(i) != model[i] {
			t.Fatalf("Has(%d) = %t", i, set.Has(i))
		}
	}
	if got, want := set.Bytes(), model.bytes(n); !bytes.Equal(got, want) {
		t.Fatalf("Bytes() = %x, want %x", got, want)
	}
}

func TestBitsetAllStopsWhenAsked(t *testing.T) {
	set := FullBitset(200)
	var seen []ChunkIndex
	for i := range set.All() {
		seen = append(seen, i)
		if i == 70 {
			break
		}
	}
	if len(seen) != 71 {
		t.Errorf("saw %d chunks before the break, want 71", len(seen))
	}
}

func TestZeroBitsetHoldsNothing(t *testing.T) {
	var set Bitset
	if set.Add(0) || set.Has(0) || set.Len() != 0 || set.Count() != 0 || len(set.Bytes()) != 0 {
		t.Error("the zero Bitset holds something")
	}
	set.Remove(0)
	if clone := set.Clone(); clone.Len() != 0 || clone.Add(0) {
		t.Error("the zero Bitset's clone holds something")
	}
}

func TestBitsetFromBytesRefuses(t *testing.T) {
	for _, c := range []struct {
		p []byte
		n ChunkIndex
	}{
		{nil, 1},
		{[]byte{0}, 0},
		{[]byte{0}, 9},
		{[]byte{0, 0}, 8},
		{[]byte{0b10}, 1},
		{[]byte{0xff, 0b1000_0000}, 15},
	} {
		if set, err := BitsetFromBytes(c.p, c.n); !errors.Is(err, ErrBitset) || set.Len() != 0 {
			t.Errorf("BitsetFromBytes(%x, %d) = %v, %v", c.p, c.n, set, err)
		}
	}
}

func FuzzBitsetFromBytes(f *testing.F) {
	f.Add([]byte{}, uint16(0))
	f.Add([]byte{1}, uint16(1))
	f.Add([]byte{0xff, 0x7f}, uint16(15))
	f.Add([]byte{0xff, 0xff}, uint16(15))
	f.Fuzz(func(t *testing.T, p []byte, n uint16) {
		set, err := BitsetFromBytes(p, ChunkIndex(n))
		if err != nil {
			return
		}
		if !bytes.Equal(set.Bytes(), p) {
			t.Errorf("%x of %d chunks becomes %x", p, n, set.Bytes())
		}
	})
}
