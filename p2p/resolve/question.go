package resolve

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

// Limits of what travels, in bytes.
const (
	MaxRegistry   = 255
	MaxRepository = 255
	MaxReference  = 128
	MaxMediaType  = 255
	MaxManifest   = 4 << 20
)

// MaxAge is the oldest that an answer can say it is.
const MaxAge = 10 * 365 * 24 * time.Hour

// ErrMalformed is wrapped by every error about a question or an answer that breaks the protocol.
var ErrMalformed = errors.New("malformed resolve message")

// A Question asks for the manifest that a reference names in a repository of a registry.
type Question struct {
	Registry   string // "docker.io", "registry.example:5000"
	Repository string // "library/nginx"
	Reference  string // a tag, or "sha256:" and 64 hex digits
}

// An Answer is what a member knows. The zero value says: nothing.
type Answer struct {
	// Found says whether the member knows. If not, everything else is zero.
	Found bool
	// Digest is what the reference names.
	Digest blob.Digest
	// MediaType is the manifest's, as upstream gave it; empty if it is not known.
	MediaType string
	// Public says that the member itself resolved the reference upstream without a credential.
	Public bool
	// Age is how long ago upstream said so, in whole seconds.
	Age time.Duration
	// Manifest is the manifest's bytes, which hash to Digest. It may be empty where the
	// question named a tag: then only the digest is known.
	Manifest []byte
}

// ByDigest reports whether the question names content, and which.
func (q Question) ByDigest() (blob.Digest, bool) {
	d, err := blob.ParseDigest(q.Reference)
	return d, err == nil
}

// Validate checks the question's form. Its errors wrap ErrMalformed.
func (q Question) Validate() error {
	switch {
	case !validRegistry(q.Registry):
		return fmt.Errorf("%w: the registry is not HOST or HOST:PORT", ErrMalformed)
	case !validRepository(q.Repository):
		return fmt.Errorf("%w: the repository is not a name of the distribution specification", ErrMalformed)
	}
	if _, ok := q.ByDigest(); !ok && !validTag(q.Reference) {
		return fmt.Errorf("%w: the reference is neither a tag nor a sha256 digest", ErrMalformed)
	}
	return nil
}

// Validate checks the answer's form, not whether the manifest has the digest. Its errors wrap
// ErrMalformed.
func (a Answer) Validate() error {
	switch {
	case !a.Found && (!a.Digest.IsZero() || a.MediaType != "" || a.Public || a.Age != 0 || len(a.Manifest) > 0):
		return fmt.Errorf("%w: nothing was found and yet something is said", ErrMalformed)
	case a.Found && a.Digest.IsZero():
		return fmt.Errorf("%w: an answer without a digest", ErrMalformed)
	case len(a.Manifest) > MaxManifest:
		return fmt.Errorf("%w: a manifest of %d bytes", ErrMalformed, len(a.Manifest))
	case a.Age < 0 || a.Age > MaxAge:
		return fmt.Errorf("%w: an age of %s", ErrMalformed, a.Age)
	case len(a.MediaType) > MaxMediaType || strings.ContainsFunc(a.MediaType, notMediaType):
		return fmt.Errorf("%w: no media type", ErrMalformed)
	}
	return nil
}

// notMediaType finds what cannot stand in a Content-Type header.
func notMediaType(r rune) bool { return r < ' ' || r > '~' }

func isAlphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func only(s string, limit int, others string) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && strings.IndexByte(others, s[i]) < 0 {
			return false
		}
	}
	return true
}

func validRegistry(s string) bool { return only(s, MaxRegistry, ".-_:[]") }

// validTag follows the distribution specification: [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}.
func validTag(s string) bool {
	return only(s, MaxReference, "_.-") && s[0] != '.' && s[0] != '-'
}

// validRepository follows the distribution specification: lower-case components, separated by
// slashes, that begin and end with a letter or a digit.
func validRepository(s string) bool {
	if len(s) > MaxRepository || strings.ToLower(s) != s {
		return false
	}
	for part := range strings.SplitSeq(s, "/") {
		if !only(part, MaxRepository, "._-") || !isAlphanumeric(part[0]) || !isAlphanumeric(part[len(part)-1]) {
			return false
		}
	}
	return true
}
