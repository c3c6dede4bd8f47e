package blob

import (
	"errors"
	"math/bits"
	"testing"

	"pgregory.net/rapid"
)

// sizes draws sizes of every class: tiny, about a chunk's edge, and up to the largest blob.
func sizes() *rapid.Generator[ByteCount] {
	return rapid.Custom(func(t *rapid.T) ByteCount {
		edge := MinChunk << rapid.IntRange(0, 20).Draw(t, "shift")
		near := ByteCount(rapid.Int64Range(-2, 2).Draw(t, "near"))
		times := ByteCount(rapid.Int64Range(1, 300).Draw(t, "times"))
		anySize := ByteCount(rapid.Int64Range(0, int64(MaxSize)).Draw(t, "any"))
		small := ByteCount(rapid.Int64Range(0, int64(64*MiB)).Draw(t, "small"))
		pick := rapid.SampledFrom([]ByteCount{edge + near, edge*times + near, anySize, small}).Draw(t, "size")
		return max(0, min(pick, MaxSize))
	})
}

// slowChunkSize is the rule of the design read out loud: size / 2048 rounded up to a power
// of two, between 128 KiB and 4 MiB.
func slowChunkSize(size ByteCount) ByteCount {
	const smallest, largest = 131072, 4194304
	share := (size + 2047) / 2048
	if share <= smallest {
		return smallest
	}
	if share > largest {
		return largest
	}
	if bits.OnesCount64(uint64(share)) == 1 {
		return share
	}
	return 1 << bits.Len64(uint64(share))
}

func TestGeometryAgreesWithSlowModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := sizes().Draw(t, "size")
		g, err := NewGeometry(size)
		if err != nil {
			t.Fatalf("NewGeometry(%d): %v", size, err)
		}
		if g.Size() != size {
			t.Fatalf("Size() = %d, want %d", g.Size(), size)
		}
		if want := slowChunkSize(size); g.ChunkSize() != want {
			t.Fatalf("ChunkSize() of %d bytes = %d, want %d", size, g.ChunkSize(), want)
		}
		// Walk from the beginning to the end, one chunk after the other.
		var i ChunkIndex
		for off := ByteCount(0); ; i++ {
			length := min(g.ChunkSize(), size-off)
			if !g.Valid(i) || g.Offset(i) != off || g.Length(i) != length {
				t.Fatalf("chunk %d of %d bytes: valid %t at %d+%d, want %d+%d", i, size, g.Valid(i), g.Offset(i), g.Length(i), off, length)
			}
			if length > 0 && (g.At(off) != i || g.At(off+length-1) != i) {
				t.Fatalf("chunk %d of %d bytes: At its ends is %d and %d", i, size, g.At(off), g.At(off+length-1))
			}
			off += length
			if off == size {
				break
			}
		}
		if g.Chunks() != i+1 || g.Last() != i || g.Valid(i+1) || g.Valid(-1) || g.Offset(i+1) != size {
			t.Fatalf("%d bytes: %d chunks, last %d, end %d; walked %d", size, g.Chunks(), g.Last(), g.Offset(i+1), i+1)
		}
		if g.Chunks() > 65536 {
			t.Fatalf("%d bytes make %d chunks", size, g.Chunks())
		}
	})
}

func TestGeometryOfKnownSizes(t *testing.T) {
	for _, c := range []struct {
		size, chunk ByteCount
		chunks      ChunkIndex
		last        ByteCount
	}{
		{0, MinChunk, 1, 0},
		{1, MinChunk, 1, 1},
		{MinChunk - 1, MinChunk, 1, MinChunk - 1},
		{MinChunk, MinChunk, 1, MinChunk},
		{MinChunk + 1, MinChunk, 2, 1},
		{256 * MiB, 128 * KiB, 2048, 128 * KiB},
		{256*MiB + 1, 256 * KiB, 1025, 1},
		{512 * MiB, 256 * KiB, 2048, 256 * KiB},
		{512*MiB + 1, 512 * KiB, 1025, 1},
		{GiB, 512 * KiB, 2048, 512 * KiB},
		{GiB + 1, MiB, 1025, 1},
		{8 * GiB, 4 * MiB, 2048, 4 * MiB},
		{8*GiB + 1, 4 * MiB, 2049, 1},
		{MaxSize, 4 * MiB, 65536, 4 * MiB},
	} {
		g, err := NewGeometry(c.size)
		if err != nil {
			t.Fatal(err)
		}
		if g.ChunkSize() != c.chunk || g.Chunks() != c.chunks || g.Length(g.Last()) != c.last {
			t.Errorf("%d bytes: %d chunks of %d, the last of %d; want %d of %d, %d",
				c.size, g.Chunks(), g.ChunkSize(), g.Length(g.Last()), c.chunks, c.chunk, c.last)
		}
	}
}

func TestGeometryRefusesSizesOutOfRange(t *testing.T) {
	for _, size := range []ByteCount{-1, -MaxSize, MaxSize + 1, 1<<63 - 1, -1 << 63} {
		if g, err := NewGeometry(size); !errors.Is(err, ErrSize) || g != (Geometry{}) {
			t.Errorf("NewGeometry(%d) = %v, %v", size, g, err)
		}
	}
}

func TestZeroGeometryIsThatOfTheEmptyBlob(t *testing.T) {
	var zero Geometry
	empty, err := NewGeometry(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range []Geometry{zero, empty} {
		if g.Chunks() != 1 || g.Length(0) != 0 || g.Offset(1) != 0 || g.Size() != 0 || g.ChunkSize() != MinChunk || g.Last() != 0 {
			t.Errorf("%+v is not the geometry of the empty blob", g)
		}
	}
}
