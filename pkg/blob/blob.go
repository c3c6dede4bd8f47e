// Package blob names content and cuts it into chunks.
//
// It is pure: it computes, and neither reads nor stores a byte. Which bytes are
// right is the business of pkg/chain and pkg/store.
package blob

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// ErrDigest is wrapped by every error that ParseDigest returns.
var ErrDigest = errors.New("not a sha256 digest")

// A Digest is the SHA-256 of a whole blob. The zero value names no blob.
//
// Only SHA-256 has a type here, because Shoal's proof (pkg/chain) rests on its
// chaining values; content under other algorithms is passed through from upstream.
type Digest [32]byte

// ParseDigest reads "sha256:" and 64 lower-case hex digits, the form of the OCI
// image specification (descriptor.md, "Digests"). Errors wrap ErrDigest.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	hexed, ok := strings.CutPrefix(s, "sha256:")
	if !ok {
		return d, fmt.Errorf("%w: no sha256: prefix", ErrDigest)
	}
	if len(hexed) != 2*len(d) {
		return d, fmt.Errorf("%w: %d hex digits, want %d", ErrDigest, len(hexed), 2*len(d))
	}
	if strings.ToLower(hexed) != hexed {
		return d, fmt.Errorf("%w: upper-case hex digits", ErrDigest)
	}
	if _, err := hex.Decode(d[:], []byte(hexed)); err != nil {
		return Digest{}, fmt.Errorf("%w: %w", ErrDigest, err)
	}
	return d, nil
}

// String returns the form that ParseDigest reads.
func (d Digest) String() string { return "sha256:" + hex.EncodeToString(d[:]) }

// Hex returns the 64 hex digits without the algorithm: the name of a file.
func (d Digest) Hex() string { return hex.EncodeToString(d[:]) }

// Short returns the first 12 hex digits, for people.
func (d Digest) Short() string { return hex.EncodeToString(d[:6]) }

// IsZero reports whether d names no blob.
func (d Digest) IsZero() bool { return d == Digest{} }

// MarshalText implements encoding.TextMarshaler with the form of String.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler with ParseDigest.
func (d *Digest) UnmarshalText(text []byte) error {
	parsed, err := ParseDigest(string(text))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}
