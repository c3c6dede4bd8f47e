// Package chain proves the chunks of a blob one by one against its SHA-256 digest.
//
// SHA-256 works on 64-byte blocks with a 32-byte state (FIPS 180-4, section 6.2), and
// chunks are multiples of 64 bytes. The states at the chunk boundaries are the blob's
// chain. A link is one chunk with the states before and after it; it can be checked
// alone, on any core and in any order. If every link holds from IV to digest, the
// blob's digest is what was claimed, whoever supplied the chain.
//
// The package computes; it keeps no bytes and decides nothing about who lied.
package chain

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A State is a SHA-256 chaining value: the eight words of FIPS 180-4, big endian.
// The state after the last chunk is the digest itself.
type State [sha256.Size]byte

// IV is the state before the first chunk (FIPS 180-4, section 5.3.3).
func IV() State {
	return State{
		0x6a, 0x09, 0xe6, 0x67, 0xbb, 0x67, 0xae, 0x85, 0x3c, 0x6e, 0xf3, 0x72, 0xa5, 0x4f, 0xf5, 0x3a,
		0x51, 0x0e, 0x52, 0x7f, 0x9b, 0x05, 0x68, 0x8c, 0x1f, 0x83, 0xd9, 0xab, 0x5b, 0xe0, 0xcd, 0x19,
	}
}

// ErrLength is returned when the bytes given for a chunk are fewer or more than the geometry says.
var ErrLength = errors.New("chunk length does not match the geometry")

// ErrChain is wrapped for a chain that cannot belong to the blob.
var ErrChain = errors.New("malformed chain")

// A Chain holds the states at a blob's chunk boundaries: s(0) = IV, s(1), ..., s(n) = digest.
// It is a claim until each of its links was checked. The zero value is no chain.
type Chain struct {
	states []State
}

// New joins the inner states s(1) ... s(n-1) of a blob to the two ends that the caller
// fixes itself: the IV and the digest. A chain from a peer enters the program here.
func New(g blob.Geometry, d blob.Digest, inner []State) (Chain, error) {
	if len(inner) != int(g.Last()) {
		return Chain{}, fmt.Errorf("%w: %d inner states for %d chunks", ErrChain, len(inner), g.Chunks())
	}
	states := make([]State, 0, len(inner)+2)
	states = append(states, IV())
	states = append(states, inner...)
	return Chain{states: append(states, State(d))}, nil
}

// Inner returns s(1) ... s(n-1), what travels to a peer. The caller must not change it.
func (c Chain) Inner() []State {
	if c.IsZero() {
		return nil
	}
	return c.states[1 : len(c.states)-1]
}

// IsZero reports whether c is no chain.
func (c Chain) IsZero() bool { return len(c.states) == 0 }

// Before is the state before chunk i.
func (c Chain) Before(i blob.ChunkIndex) State { return c.states[i] }

// After is the state after chunk i.
func (c Chain) After(i blob.ChunkIndex) State { return c.states[i+1] }

// Next reads chunk i of a blob from r and returns the state after it, given the state
// before it; for the last chunk that is the digest, padding and length included.
//
// The offset comes from the geometry, never from a peer. The bytes pass through buf, which is
// the caller's again afterwards; nil means a new one. It returns ErrLength when r holds more
// or less than the chunk, and r's own errors wrapped.
func Next(g blob.Geometry, i blob.ChunkIndex, before State, r io.Reader, buf []byte) (State, error) {
	if !g.Valid(i) {
		return State{}, fmt.Errorf("%w: chunk %d of %d", ErrChain, i, g.Chunks())
	}
	h := sha256.New()
	resume, ok := h.(interface {
		UnmarshalBinary(data []byte) error
		AppendBinary(b []byte) ([]byte, error)
	})
	if !ok {
		panic("chain: crypto/sha256 no longer saves its state")
	}
	if err := resume.UnmarshalBinary(savedState(before, g.Offset(i))); err != nil {
		panic(fmt.Sprintf("chain: crypto/sha256 changed its saved form: %v", err))
	}
	if len(buf) == 0 {
		buf = make([]byte, copyBuffer)
	}
	if err := copyExactly(h, r, g.Length(i), buf); err != nil {
		return State{}, fmt.Errorf("hash chunk %d: %w", i, err)
	}
	var after State
	if i == g.Last() {
		h.Sum(after[:0])
		return after, nil
	}
	saved, err := resume.AppendBinary(nil)
	if err != nil {
		panic(fmt.Sprintf("chain: crypto/sha256 cannot save its state: %v", err))
	}
	copy(after[:], saved[len(savedMagic):])
	return after, nil
}

// The form in which crypto/sha256 saves its state: a magic, the eight words, the
// 64-byte block buffer (empty at a chunk boundary) and the length so far.
const (
	savedMagic = "sha\x03"
	savedBlock = 64
	savedSize  = len(savedMagic) + sha256.Size + savedBlock + 8
)

// savedState builds a hasher's state from 32 bytes and our own offset. Bytes of a
// peer never reach UnmarshalBinary otherwise: the form holds a length field.
func savedState(s State, offset blob.ByteCount) []byte {
	saved := make([]byte, savedSize)
	n := copy(saved, savedMagic)
	copy(saved[n:], s[:])
	binary.BigEndian.PutUint64(saved[savedSize-8:], uint64(offset))
	return saved
}

// copyBuffer is how much of a chunk is read at a time without a buffer of the caller's.
// maxEmptyReads is how often a reader may return neither bytes nor an error.
const (
	copyBuffer    = 32 << 10
	maxEmptyReads = 100
)

// copyExactly copies n bytes from r through buf into w and returns ErrLength unless r
// ends there.
func copyExactly(w hash.Hash, r io.Reader, n blob.ByteCount, buf []byte) error {
	for empty := 0; empty < maxEmptyReads; {
		got, err := r.Read(buf)
		if blob.ByteCount(got) > n {
			return ErrLength
		}
		n -= blob.ByteCount(got)
		_, _ = w.Write(buf[:got]) // a hash.Hash never returns an error
		switch {
		case errors.Is(err, io.EOF) && n > 0:
			return ErrLength
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case got == 0:
			empty++
		default:
			empty = 0
		}
	}
	return io.ErrNoProgress
}
