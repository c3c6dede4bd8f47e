package blob

import (
	"bytes"
	"errors"
	"iter"
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

// pair draws a set and its model, of at most 200 chunks and any density.
func pair(t *rapid.T, name string) (Bitset, modelSet) {
	n := ChunkIndex(rapid.Int32Range(0, 200).Draw(t, name))
	set, model := NewBitset(n), modelSet{}
	if n == 0 {
		return set, model
	}
	for _, i := range rapid.SliceOfN(rapid.Int32Range(0, int32(n)-1), 0, 300).Draw(t, name+"'s chunks") {
		set.Add(ChunkIndex(i))
		model[ChunkIndex(i)] = true
	}
	return set, model
}

func (m modelSet) filter(keep func(ChunkIndex) bool) modelSet {
	out := maps.Clone(m)
	maps.DeleteFunc(out, func(i ChunkIndex, _ bool) bool { return !keep(i) })
	return out
}

// TestBitsetsTogetherAgreeWithMaps: what takes two sets does what their models do, of equal
// length or not, and leaves the second alone.
func TestBitsetsTogetherAgreeWithMaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, inA := pair(t, "a")
		b, inB := pair(t, "b")
		both := inA.filter(func(i ChunkIndex) bool { return inB[i] })
		only := inA.filter(func(i ChunkIndex) bool { return !inB[i] })
		if got, want := slices.Collect(a.And(b)), slices.Sorted(maps.Keys(both)); !slices.Equal(got, want) {
			t.Fatalf("And yields %v, want %v", got, want)
		}
		if got, want := slices.Collect(a.AndNot(b)), slices.Sorted(maps.Keys(only)); !slices.Equal(got, want) {
			t.Fatalf("AndNot yields %v, want %v", got, want)
		}
		down := slices.Collect(a.Backward())
		slices.Reverse(down)
		if !slices.Equal(down, slices.Collect(a.All())) {
			t.Fatalf("Backward yields, from its end, %v", down)
		}
		if a.Within(b) != (len(only) == 0) || a.Meets(b) != (len(both) > 0) || a.Empty() != (len(inA) == 0) {
			t.Fatalf("Within %t, Meets %t, Empty %t", a.Within(b), a.Meets(b), a.Empty())
		}
		if want := a.Len() == b.Len() && maps.Equal(inA, inB); a.Equal(b) != want || !a.Equal(a.Clone()) {
			t.Fatalf("Equal is %t, want %t", a.Equal(b), want)
		}
		union := maps.Clone(inA)
		for i := range inB.filter(func(i ChunkIndex) bool { return i < a.Len() }) {
			union[i] = true
		}
		joined := a.Clone()
		if got, want := joined.AddAll(b), len(union)-len(inA); got != ChunkIndex(want) {
			t.Fatalf("AddAll added %d, want %d", got, want)
		}
		compare(t, joined, union, a.Len())
		kept, rest, none := a.Clone(), a.Clone(), a.Clone()
		kept.KeepAll(b)
		compare(t, kept, both, a.Len())
		rest.RemoveAll(b)
		compare(t, rest, only, a.Len())
		none.Clear()
		compare(t, none, modelSet{}, a.Len())
		compare(t, a, inA, a.Len())
		compare(t, b, inB, b.Len())
	})
}

func TestBitsetIterationStopsWhenAsked(t *testing.T) {
	for name, seq := range map[string]iter.Seq[ChunkIndex]{
		"And": FullBitset(200).And(FullBitset(200)), "AndNot": FullBitset(200).AndNot(NewBitset(200)), "Backward": FullBitset(200).Backward(),
	} {
		seen := 0
		for range seq {
			if seen++; seen == 71 {
				break
			}
		}
		if seen != 71 {
			t.Errorf("%s: saw %d chunks before the break, want 71", name, seen)
		}
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
