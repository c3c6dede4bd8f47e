package credentials

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// A Login is what one registry wants to see. However it is printed, it shows nothing of that.
// The zero value is none.
type Login struct {
	Name, Password string
	// IdentityToken is given to the token server in place of a password; RegistryToken is shown to the
	// registry as it is.
	IdentityToken, RegistryToken string
}

// IsZero reports whether l is none.
func (l Login) IsZero() bool { return l == Login{} }

func (l Login) check() error {
	for _, s := range []string{l.Name, l.Password, l.IdentityToken, l.RegistryToken} {
		if len(s) > secretMax || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			return fmt.Errorf("%w: a login that is too long or has control characters", ErrFile)
		}
	}
	return nil
}

const redacted = "[redacted]"

// String shows a placeholder.
func (Login) String() string { return redacted }

// GoString shows a placeholder.
func (Login) GoString() string { return redacted }

// Format shows a placeholder under every verb.
func (Login) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue shows a placeholder.
func (Login) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText shows a placeholder, so that no encoder of a struct leaks it.
func (Login) MarshalText() ([]byte, error) { return []byte(redacted), nil }
