package blob

import (
	"errors"
	"fmt"
)

// ByteCount is a number of bytes: a size, a length or an offset.
type ByteCount int64

// ChunkIndex numbers the chunks of one blob from 0.
type ChunkIndex int32

// Units for reading code and flags.
const (
	KiB ByteCount = 1 << 10
	MiB ByteCount = 1 << 20
	GiB ByteCount = 1 << 30
)

// Bounds of the geometry. A chunk is the unit of exchange and of proof.
const (
	// MinChunk gives a layer of 64 MiB 512 chunks, and as many readers in a large crowd. Before
	// there is a chain only who read a chunk hands it on.
	MinChunk = 128 * KiB
	MaxChunk = 4 * MiB
	// MaxSize is the largest blob that Shoal exchanges: 65,536 chunks.
	MaxSize = 256 * GiB
	// chunksWanted is about how many chunks a blob is cut into between the two bounds. In a
	// crowd of 100 a node reads at a hundredth of the registry's rate, and has nothing to hand
	// on before its first chunk is whole.
	chunksWanted = 2048
)

// ErrSize is wrapped by NewGeometry for a size that is negative or above MaxSize.
var ErrSize = errors.New("blob size out of range")

// A Geometry says how a blob of one size is cut into chunks. Everybody computes it
// from the size alone, so that two nodes never disagree. The zero value is the
// geometry of the empty blob, which has one chunk of no bytes.
type Geometry struct {
	size  ByteCount
	chunk ByteCount
}

// NewGeometry returns the geometry of a blob of size bytes: chunks of size/2048
// rounded up to a power of two, between MinChunk and MaxChunk.
func NewGeometry(size ByteCount) (Geometry, error) {
	if size < 0 || size > MaxSize {
		return Geometry{}, fmt.Errorf("%w: %d", ErrSize, size)
	}
	chunk := MinChunk
	for chunk < MaxChunk && chunk*chunksWanted < size {
		chunk *= 2
	}
	return Geometry{size: size, chunk: chunk}, nil
}

// Size is the size of the whole blob.
func (g Geometry) Size() ByteCount { return g.size }

// ChunkSize is the length of every chunk but the last.
func (g Geometry) ChunkSize() ByteCount { return max(g.chunk, MinChunk) }

// Chunks is the number of chunks; the empty blob has one, of no bytes.
func (g Geometry) Chunks() ChunkIndex {
	return ChunkIndex(max(1, (g.size+g.ChunkSize()-1)/g.ChunkSize()))
}

// Last is the index of the last chunk, the only one that may be short.
func (g Geometry) Last() ChunkIndex { return g.Chunks() - 1 }

// Valid reports whether i names a chunk of the blob.
func (g Geometry) Valid(i ChunkIndex) bool { return i >= 0 && i < g.Chunks() }

// Offset is where chunk i begins. It is defined for i = Chunks() too: the end.
func (g Geometry) Offset(i ChunkIndex) ByteCount {
	return min(ByteCount(i)*g.ChunkSize(), g.size)
}

// Length is the number of bytes in chunk i, which must be valid.
func (g Geometry) Length(i ChunkIndex) ByteCount { return g.Offset(i+1) - g.Offset(i) }

// At is the chunk that holds the byte at offset off, which lies inside the blob.
func (g Geometry) At(off ByteCount) ChunkIndex { return ChunkIndex(off / g.ChunkSize()) }
