package admission

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// MaxSecrets is how many secrets of a swarm can be valid at once, for rotation.
	MaxSecrets = 4
	// tokenContext separates this use of the secret from any other.
	tokenContext = "shoal/admission/1"
	tokenSize    = sha256.Size
	// secretFileMax is more than any secret file holds; what is longer is something else.
	secretFileMax = 256
)

// ErrSecret is wrapped by every error about text that is no secret.
var ErrSecret = errors.New("not a swarm secret")

// A Secret is the swarm's secret, 32 random bytes. It never leaves the process: every way
// of printing it shows a placeholder. The zero value is no secret.
type Secret struct{ key [32]byte }

// GenerateSecret draws a secret from the operating system.
func GenerateSecret() Secret {
	var s Secret
	_, _ = rand.Read(s.key[:]) // never fails: crypto/rand ends the process instead
	return s
}

// ParseSecret reads 64 hex digits, with or without a newline behind them. Its errors wrap
// ErrSecret and never hold what was given.
func ParseSecret(text []byte) (Secret, error) {
	var s Secret
	if n := len(text); n > 0 && text[n-1] == '\n' {
		text = text[:n-1]
	}
	if n := len(text); n > 0 && text[n-1] == '\r' {
		text = text[:n-1]
	}
	if len(text) != hex.EncodedLen(len(s.key)) {
		return Secret{}, fmt.Errorf("%w: it has %d characters, want 64 hex digits", ErrSecret, len(text))
	}
	if _, err := hex.Decode(s.key[:], text); err != nil {
		return Secret{}, fmt.Errorf("%w: it has a character that is no hex digit", ErrSecret)
	}
	if s.IsZero() {
		return Secret{}, fmt.Errorf("%w: it is all zeros", ErrSecret)
	}
	return s, nil
}

// LoadSecret reads the secret in the file. The warning, if not empty, is a sentence for the
// log: the secret works but other users of this machine can read it.
func LoadSecret(file string) (s Secret, warning string, err error) {
	f, err := os.Open(file) //nolint:gosec // the operator names the file
	if err != nil {
		return Secret{}, "", fmt.Errorf("read the swarm secret: %w", err)
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, secretFileMax))
	if err != nil {
		return Secret{}, "", fmt.Errorf("read the swarm secret: %w", err)
	}
	if s, err = ParseSecret(text); err != nil {
		return Secret{}, "", fmt.Errorf("read the swarm secret in %s: %w", file, err)
	}
	if info, err := f.Stat(); err == nil && info.Mode().Perm()&0o077 != 0 {
		warning = fmt.Sprintf("the swarm secret in %s can be read by other users (mode %04o)", file, info.Mode().Perm())
	}
	return s, warning, nil
}

// Encode returns the text that ParseSecret reads, newline included: what belongs in the file.
func (s Secret) Encode() []byte {
	return append(hex.AppendEncode(nil, s.key[:]), '\n')
}

// IsZero reports whether s is no secret.
func (s Secret) IsZero() bool { return s == Secret{} }

// String shows a placeholder.
func (s Secret) String() string { return "[secret]" }

// GoString shows a placeholder.
func (s Secret) GoString() string { return "[secret]" }

// Format shows a placeholder under every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[secret]") }

// LogValue shows a placeholder.
func (s Secret) LogValue() slog.Value { return slog.StringValue("[secret]") }

// MarshalText shows a placeholder, so that no encoder of a struct leaks the key.
func (s Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// token is what proves to others that p holds the secret. It is of no use to anyone who
// cannot also prove p's key, which the TLS handshake asks for.
func (s Secret) token(p peer.ID) [tokenSize]byte {
	mac := hmac.New(sha256.New, s.key[:])
	mac.Write([]byte(tokenContext))
	mac.Write([]byte(p))
	var t [tokenSize]byte
	mac.Sum(t[:0])
	return t
}
