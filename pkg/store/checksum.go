package store

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A checksum tells whether a chunk's bytes on disk are those that were written. It is a
// GMAC chained over the chunk's pieces, used as a keyed hash: who does not know the key
// cannot find other bytes with the same checksum. It is several times faster than SHA-256
// and proves nothing about where bytes came from.
type checksum [16]byte

// A sumKey is the secret of one partial blob. It never leaves the state file.
type sumKey [16]byte

// pieceSize is how many bytes are read, summed and written at a time.
const pieceSize = 128 << 10

// A piece is a buffer with room for the checksum so far in front of the bytes.
type piece [len(checksum{}) + pieceSize]byte

// A summer computes checksums under one key. It is safe for concurrent use.
type summer struct{ aead cipher.AEAD }

func newSummer(key sumKey) (summer, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return summer{}, fmt.Errorf("prepare checksums: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return summer{}, fmt.Errorf("prepare checksums: %w", err)
	}
	return summer{aead: aead}, nil
}

// copyChunk reads exactly n bytes from r, the bytes of chunk i, hands each piece to sink
// and returns the checksum. It does not look whether r holds more. The error of r is
// wrapped, a short r is ErrLength, and the error of sink is returned as it is.
func (s summer) copyChunk(i blob.ChunkIndex, n blob.ByteCount, r io.Reader, buf *piece, sink func(p []byte, at int64) error) (checksum, error) {
	var sum checksum
	var nonce [12]byte
	head := len(sum)
	binary.BigEndian.PutUint32(sum[:], uint32(i))
	binary.BigEndian.PutUint64(sum[8:], uint64(n))
	for at := int64(0); at < int64(n); {
		p := buf[head : head+int(min(pieceSize, int64(n)-at))]
		if _, err := io.ReadFull(r, p); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				return checksum{}, ErrLength
			}
			return checksum{}, fmt.Errorf("read chunk %d: %w", i, err)
		}
		copy(buf[:head], sum[:])
		binary.BigEndian.PutUint64(nonce[4:], uint64(at))
		s.aead.Seal(sum[:0], nonce[:], nil, buf[:head+len(p)])
		if err := sink(p, at); err != nil {
			return checksum{}, err
		}
		at += int64(len(p))
	}
	return sum, nil
}
