package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Limits on WWW-Authenticate, which a hostile upstream writes.
const (
	maxChallengeBytes  = 16 << 10
	maxChallenges      = 16
	maxChallengeParams = 32
)

// ErrChallenge is wrapped for a WWW-Authenticate header that does not follow RFC 9110.
// The error repeats nothing of it.
var ErrChallenge = errors.New("malformed challenge")

// A Challenge is one way to authenticate that a registry offers (RFC 9110, section
// 11.6.1). Shoal answers none itself: the client does.
type Challenge struct {
	Scheme string // as written: "Bearer", "Basic"
	// Parameters are by lower-case name: realm, service, scope.
	Parameters map[string]string
	// Token is set instead of Parameters for the form with a single token68.
	Token string
}

// ParseChallenges reads the values of all WWW-Authenticate headers of one answer. Errors
// wrap ErrChallenge.
func ParseChallenges(values []string) ([]Challenge, error) {
	var all []Challenge
	total := 0
	for _, value := range values {
		if total += len(value); total > maxChallengeBytes {
			return nil, fmt.Errorf("%w: too long", ErrChallenge)
		}
		s := scanner(value)
		for s.skip(" \t,"); s != ""; s.skip(" \t,") {
			if len(all) == maxChallenges {
				return nil, fmt.Errorf("%w: too many", ErrChallenge)
			}
			one, err := s.challenge()
			if err != nil {
				return nil, err
			}
			all = append(all, one)
		}
	}
	return all, nil
}

// A scanner is what is left to read of one header value.
type scanner string

func (s *scanner) skip(set string) { *s = scanner(strings.TrimLeft(string(*s), set)) }

// take reads the longest beginning whose bytes are all ok.
func (s *scanner) take(ok func(byte) bool) string {
	n := 0
	for n < len(*s) && ok((*s)[n]) {
		n++
	}
	taken := string((*s)[:n])
	*s = (*s)[n:]
	return taken
}

func (s *scanner) challenge() (Challenge, error) {
	c := Challenge{Scheme: s.take(isToken)}
	if c.Scheme == "" {
		return c, fmt.Errorf("%w: no scheme", ErrChallenge)
	}
	if *s != "" && !strings.ContainsRune(" \t,", rune((*s)[0])) {
		return c, fmt.Errorf("%w: a scheme that is no token", ErrChallenge)
	}
	s.skip(" \t")
	if token, ok := s.token68(); ok {
		c.Token = token
		return c, nil
	}
	for {
		rest := *s // a name without "=" begins the next challenge
		rest.skip(" \t,")
		name := strings.ToLower(rest.take(isToken))
		rest.skip(" \t")
		if name == "" || !strings.HasPrefix(string(rest), "=") {
			return c, nil
		}
		rest = rest[1:]
		rest.skip(" \t")
		value, err := rest.value()
		if err != nil {
			return c, err
		}
		if _, twice := c.Parameters[name]; twice || len(c.Parameters) == maxChallengeParams {
			return c, fmt.Errorf("%w: parameters twice or too many", ErrChallenge)
		}
		if c.Parameters == nil {
			c.Parameters = map[string]string{}
		}
		c.Parameters[name] = value
		rest.skip(" \t")
		if rest != "" && rest[0] != ',' {
			return c, fmt.Errorf("%w: parameters without a comma between them", ErrChallenge)
		}
		*s = rest
	}
}

// token68 reads a lone token68, which ends at a comma or at the end.
func (s *scanner) token68() (string, bool) {
	rest := *s
	token := rest.take(isToken68)
	if token == "" { // "=" only fills up
		return "", false
	}
	token += rest.take(func(c byte) bool { return c == '=' })
	rest.skip(" \t")
	if rest != "" && rest[0] != ',' {
		return "", false
	}
	*s = rest
	return token, true
}

// value reads a token or a quoted string.
func (s *scanner) value() (string, error) {
	if !strings.HasPrefix(string(*s), `"`) {
		token := s.take(isToken)
		if token == "" {
			return "", fmt.Errorf("%w: a parameter without a value", ErrChallenge)
		}
		return token, nil
	}
	var b strings.Builder
	for at := 1; at < len(*s); at++ {
		switch c := (*s)[at]; {
		case c == '"':
			*s = (*s)[at+1:]
			return b.String(), nil
		case c == '\\' && at+1 < len(*s):
			at++
			b.WriteByte((*s)[at])
		default:
			b.WriteByte(c)
		}
	}
	return "", fmt.Errorf("%w: a quote that does not end", ErrChallenge)
}

// isToken reports whether c may stand in a token (RFC 9110, section 5.6.2).
func isToken(c byte) bool {
	return isLower(c) || isUpper(c) || isDigit(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// isToken68 reports whether c may stand in a token68 (RFC 9110, section 11.2).
func isToken68(c byte) bool {
	return isLower(c) || isUpper(c) || isDigit(c) || strings.IndexByte("-._~+/", c) >= 0
}

// challenges returns the WWW-Authenticate headers of an answer as they came, if they may
// be passed on: whoever answers a challenge sends a password to the realm it names. So
// it must come from the registry itself and no other host, over TLS or as configured.
func (c *Client) challenges(registry string, a *answer) []string {
	if a.status != http.StatusUnauthorized || !a.at.trusted {
		return nil
	}
	base, configured := c.base(registry)
	if !a.verified && (!configured || base.Scheme != "http") {
		return nil
	}
	return a.header["Www-Authenticate"]
}

// wants names the schemes of challenges for people.
func wants(challenges []string) string {
	all, err := ParseChallenges(challenges)
	if err != nil {
		return ""
	}
	var known []string
	for _, c := range all {
		for _, scheme := range []string{"Basic", "Bearer", "Negotiate"} {
			if strings.EqualFold(c.Scheme, scheme) {
				known = append(known, scheme)
			}
		}
	}
	return strings.Join(known, " or ")
}
