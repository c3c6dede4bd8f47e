package store

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/shoal-project/shoal/pkg/blob"
)

// An Origin says where a chunk's bytes came from.
type Origin uint8

// The zero Origin is that of a missing chunk.
const (
	// FromRegistry is a chunk that this node read from upstream itself: R.
	FromRegistry Origin = 1 + iota
	// FromPeer is a chunk that a peer sent: Q until a link proves it V.
	FromPeer
)

// The state file is a header and one slot for each chunk, written in place when the chunk
// is there. A slot lies within one disk sector, so it is old or new but not torn; should
// it be garbage all the same, its CRC-32C says so and the chunk is missing.
//
//	header   magic 8 | digest 32 | size 8 | key 16 | CRC-32C 4 | zero 28
//	slot     origin 1 | zero 3 | chunk 4 | checksum 16 | zero 4 | CRC-32C 4
const (
	stateMagic  = "shoalst\x03"
	stateHeader = 96
	slotSize    = 32
)

// A header says which blob a state file is about.
type header struct {
	digest blob.Digest
	size   blob.ByteCount
	key    sumKey
}

// A slot is what the state file says of one chunk. The zero slot is a missing chunk.
type slot struct {
	origin Origin
	sum    checksum
}

func stateSize(g blob.Geometry) int64 { return stateHeader + int64(g.Chunks())*slotSize }

func slotOffset(i blob.ChunkIndex) int64 { return stateHeader + int64(i)*slotSize }

func castagnoli(p []byte) uint32 { return crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli)) }

func (h header) encode() []byte {
	p := make([]byte, 0, stateHeader)
	p = append(p, stateMagic...)
	p = append(p, h.digest[:]...)
	p = binary.BigEndian.AppendUint64(p, uint64(h.size))
	p = append(p, h.key[:]...)
	p = binary.BigEndian.AppendUint32(p, castagnoli(p))
	return p[:stateHeader]
}

func decodeHeader(p []byte) (header, error) {
	const body = len(stateMagic) + 32 + 8 + 16
	if len(p) < stateHeader || string(p[:len(stateMagic)]) != stateMagic {
		return header{}, fmt.Errorf("%w: no header", errState)
	}
	if binary.BigEndian.Uint32(p[body:]) != castagnoli(p[:body]) {
		return header{}, fmt.Errorf("%w: header damaged", errState)
	}
	var h header
	rest := p[len(stateMagic):]
	rest = rest[copy(h.digest[:], rest):]
	h.size = blob.ByteCount(binary.BigEndian.Uint64(rest))
	copy(h.key[:], rest[8:])
	return h, nil
}

func (s slot) encode(i blob.ChunkIndex) []byte {
	p := make([]byte, slotSize)
	if s.origin == 0 {
		return p
	}
	p[0] = byte(s.origin)
	binary.BigEndian.PutUint32(p[4:], uint32(i))
	copy(p[8:], s.sum[:])
	binary.BigEndian.PutUint32(p[slotSize-4:], castagnoli(p[:slotSize-4]))
	return p
}

// decodeSlot returns the zero slot for anything but a whole slot of chunk i.
func decodeSlot(p []byte, i blob.ChunkIndex) slot {
	s := slot{origin: Origin(p[0])}
	if s.origin != FromRegistry && s.origin != FromPeer {
		return slot{}
	}
	if binary.BigEndian.Uint32(p[4:]) != uint32(i) {
		return slot{}
	}
	if binary.BigEndian.Uint32(p[slotSize-4:]) != castagnoli(p[:slotSize-4]) {
		return slot{}
	}
	copy(s.sum[:], p[8:])
	return s
}

// decodeState reads a whole state file. A bad header is an error that wraps errState; a
// bad or absent slot is a missing chunk; what follows the last slot is ignored.
func decodeState(p []byte) (header, []slot, error) {
	h, err := decodeHeader(p)
	if err != nil {
		return header{}, nil, err
	}
	g, err := blob.NewGeometry(h.size)
	if err != nil {
		return header{}, nil, fmt.Errorf("%w: %w", errState, err)
	}
	slots := make([]slot, g.Chunks())
	rest := p[stateHeader:]
	for i := range slots {
		if len(rest) < slotSize {
			break
		}
		slots[i] = decodeSlot(rest, blob.ChunkIndex(i))
		rest = rest[slotSize:]
	}
	return h, slots, nil
}
