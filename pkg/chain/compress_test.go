package chain

import (
	"encoding/binary"
	"math/big"
	"math/bits"
	"testing"
)

// compress is SHA-256's compression function written down from FIPS 180-4, section 6.2.2:
// slow, obvious, and independent of crypto/sha256.
func compress(constants [64]uint32, before State, block [64]byte) State {
	var w [64]uint32
	for t := range 16 {
		w[t] = binary.BigEndian.Uint32(block[4*t:])
	}
	for t := 16; t < 64; t++ {
		s0 := bits.RotateLeft32(w[t-15], -7) ^ bits.RotateLeft32(w[t-15], -18) ^ w[t-15]>>3
		s1 := bits.RotateLeft32(w[t-2], -17) ^ bits.RotateLeft32(w[t-2], -19) ^ w[t-2]>>10
		w[t] = s1 + w[t-7] + s0 + w[t-16]
	}
	var h [8]uint32
	for i := range h {
		h[i] = binary.BigEndian.Uint32(before[4*i:])
	}
	v := h
	for t, k := range constants {
		s1 := bits.RotateLeft32(v[4], -6) ^ bits.RotateLeft32(v[4], -11) ^ bits.RotateLeft32(v[4], -25)
		choice := v[4]&v[5] ^ ^v[4]&v[6]
		t1 := v[7] + s1 + choice + k + w[t]
		s0 := bits.RotateLeft32(v[0], -2) ^ bits.RotateLeft32(v[0], -13) ^ bits.RotateLeft32(v[0], -22)
		majority := v[0]&v[1] ^ v[0]&v[2] ^ v[1]&v[2]
		v = [8]uint32{t1 + s0 + majority, v[0], v[1], v[2], v[3] + t1, v[4], v[5], v[6]}
	}
	var after State
	for i := range h {
		binary.BigEndian.PutUint32(after[4*i:], h[i]+v[i])
	}
	return after
}

// roundConstants are the first 32 bits of the fractional parts of the cube roots of the
// first 64 primes (FIPS 180-4, section 4.2.2).
func roundConstants() [64]uint32 {
	var k [64]uint32
	n := 0
	for candidate := int64(2); n < len(k); candidate++ {
		if big.NewInt(candidate).ProbablyPrime(0) { // exact below 2^64
			k[n] = fraction(candidate, 3)
			n++
		}
	}
	return k
}

// fraction is the first 32 bits behind the point of the degree-th root of n.
func fraction(n int64, degree uint) uint32 {
	scaled := new(big.Int).Lsh(big.NewInt(n), 32*degree)
	root := new(big.Int)
	for bit := 40; bit >= 0; bit-- {
		root.SetBit(root, bit, 1)
		if new(big.Int).Exp(root, big.NewInt(int64(degree)), nil).Cmp(scaled) > 0 {
			root.SetBit(root, bit, 0)
		}
	}
	return uint32(root.Uint64()) // the low half; the high one is the whole part
}

func TestIV(t *testing.T) {
	var want State
	for i, prime := range []int64{2, 3, 5, 7, 11, 13, 17, 19} { // FIPS 180-4, section 5.3.3
		binary.BigEndian.PutUint32(want[4*i:], fraction(prime, 2))
	}
	if IV() != want {
		t.Errorf("IV() = %x, want %x", IV(), want)
	}
}
