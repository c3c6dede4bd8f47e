package upstream

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unique"
)

// maxCredential bounds an Authorization header, in bytes. Tokens of large directories
// reach 10 KiB.
const maxCredential = 32 << 10

// ErrCredential is returned for a value that cannot stand in an Authorization header.
var ErrCredential = errors.New("malformed credential")

// A Credential is the value of a client's Authorization header, opaque and exactly as it
// came. The zero value is anonymous. Credentials are comparable and may be map keys.
//
// The value lies behind a pointer, so that formatting any struct that holds a Credential,
// in whatever way, never prints it.
type Credential struct{ value unique.Handle[string] }

// NewCredential wraps the value of an Authorization header; "" is anonymous. The error
// does not contain the value.
func NewCredential(authorization string) (Credential, error) {
	switch {
	case authorization == "":
		return Credential{}, nil
	case len(authorization) > maxCredential:
		return Credential{}, fmt.Errorf("%w: %d bytes", ErrCredential, len(authorization))
	case strings.ContainsFunc(authorization, isControl):
		return Credential{}, ErrCredential
	}
	return Credential{value: unique.Make(authorization)}, nil
}

// Authorization returns the header's value, "" for anonymous. It is for requests and
// keyed hashes only.
func (c Credential) Authorization() string {
	if c.IsZero() {
		return ""
	}
	return c.value.Value()
}

// IsZero reports whether c is anonymous.
func (c Credential) IsZero() bool { return c == Credential{} }

// Equal reports whether both are the same header value.
func (c Credential) Equal(other Credential) bool { return c == other }

// String says whether there is a credential, never which.
func (c Credential) String() string {
	if c.IsZero() {
		return "anonymous"
	}
	return "[redacted]"
}

// GoString is String.
func (c Credential) GoString() string { return c.String() }

// Format writes String for every verb.
func (c Credential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue is String for logs.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText is String for encoders.
func (c Credential) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// A Source is where a blob can be read, and with which credential.
type Source struct {
	Repository
	Credential Credential
}

// String returns the repository.
func (s Source) String() string { return s.Repository.String() }

// isControl reports whether a header value must not contain r (RFC 9110, section 5.5).
func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }
