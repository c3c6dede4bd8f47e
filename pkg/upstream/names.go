package upstream

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/shoal-project/shoal/pkg/blob"
)

// ErrName is wrapped by every error about a malformed registry, repository, tag or digest.
var ErrName = errors.New("malformed name")

// Longest names accepted, in bytes. A DNS name has at most 253 (RFC 1035, section
// 2.3.4), and a port five digits. Registries bound repository names at 255. The longest
// registered digest is sha512's with 135.
const (
	maxRegistry = 253 + len(":65535")
	maxName     = 255
	maxTag      = 128
	maxDigest   = 255
)

// A Repository is where content lives: the registry's name as images name it, not the
// host it is reached at, and the repository's name in it. It is comparable; values from
// ParseRepository that mean the same are equal.
type Repository struct {
	Registry string // "docker.io", "registry.example:5000"
	Name     string // "library/nginx"
}

// ParseRepository checks both names and lowers the case of the registry's, which is a
// host. Errors wrap ErrName.
func ParseRepository(registry, name string) (Repository, error) {
	if !ValidRegistry(registry) {
		return Repository{}, fmt.Errorf("%w: %.64q is no registry", ErrName, registry)
	}
	if !ValidName(name) {
		return Repository{}, fmt.Errorf("%w: %.64q is no repository", ErrName, name)
	}
	return Repository{Registry: strings.ToLower(registry), Name: name}, nil
}

// ParseQualified splits "registry/repository" and checks both parts. The first component
// must look like a registry: it has a dot or a port, or is localhost. Errors wrap ErrName.
func ParseQualified(s string) (Repository, error) {
	registry, name, ok := strings.Cut(s, "/")
	if !ok || !strings.ContainsAny(registry, ".:") && !strings.EqualFold(registry, "localhost") {
		return Repository{}, fmt.Errorf("%w: %.64q does not begin with a registry", ErrName, s)
	}
	return ParseRepository(registry, name)
}

// String returns registry/repository.
func (r Repository) String() string { return r.Registry + "/" + r.Name }

// ValidRegistry reports whether s is host[:port]: a DNS name, an IPv4 address or an IPv6
// address in brackets, without a zone.
func ValidRegistry(s string) bool {
	if s == "" || len(s) > maxRegistry {
		return false
	}
	if !strings.HasPrefix(s, "[") {
		host, port, hasPort := strings.Cut(s, ":")
		return validHost(host) && (!hasPort || validPort(port))
	}
	address, rest, ok := strings.Cut(s[1:], "]")
	if !ok {
		return false
	}
	ip, err := netip.ParseAddr(address)
	if err != nil || !ip.Is6() || ip.Zone() != "" {
		return false
	}
	port, hasPort := strings.CutPrefix(rest, ":")
	return rest == "" || hasPort && validPort(port)
}

func validHost(host string) bool {
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i]; !isLower(c) && !isUpper(c) && !isDigit(c) && c != '-' {
				return false
			}
		}
	}
	return true
}

func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0 && port[0] != '0'
}

// ValidName reports whether s is a repository's name (distribution specification,
// "Pulling manifests"): components of lower-case letters and digits, joined inside by
// one dot, one or two underscores or any number of dashes, and separated by slashes.
func ValidName(s string) bool {
	if len(s) > maxName {
		return false
	}
	for component := range strings.SplitSeq(s, "/") {
		if !validComponent(component) {
			return false
		}
	}
	return true
}

func validComponent(s string) bool {
	at := 0
	for {
		word := at
		for at < len(s) && (isLower(s[at]) || isDigit(s[at])) {
			at++
		}
		if at == word {
			return false // a separator at either end, two in a row, or a character of no name
		}
		if at == len(s) {
			return true
		}
		at += separator(s[at:])
	}
}

// separator returns the length of the separator that s begins with, 0 if there is none.
func separator(s string) int {
	switch {
	case s[0] == '.':
		return 1
	case strings.HasPrefix(s, "__"):
		return 2
	case s[0] == '_':
		return 1
	}
	return len(s) - len(strings.TrimLeft(s, "-"))
}

// ValidTag reports whether s is a tag (distribution specification, "Pulling manifests").
func ValidTag(s string) bool {
	if s == "" || len(s) > maxTag || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !isLower(c) && !isUpper(c) && !isDigit(c) && c != '_' && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

// ValidDigest reports whether s is a digest of any algorithm (OCI image specification,
// descriptor.md, "Digests"). One that names sha256 must be what blob.ParseDigest reads.
func ValidDigest(s string) bool {
	algorithm, encoded, ok := strings.Cut(s, ":")
	if !ok || len(s) > maxDigest || encoded == "" {
		return false
	}
	if algorithm == "sha256" {
		_, err := blob.ParseDigest(s)
		return err == nil
	}
	for i := range len(encoded) {
		if c := encoded[i]; !isLower(c) && !isUpper(c) && !isDigit(c) && c != '=' && c != '_' && c != '-' {
			return false
		}
	}
	for part := range strings.FieldsFuncSeq(algorithm, isAlgorithmSeparator) {
		for i := range len(part) {
			if !isLower(part[i]) && !isDigit(part[i]) {
				return false
			}
		}
	}
	return validAlgorithmEnds(algorithm)
}

func isAlgorithmSeparator(r rune) bool { return r == '+' || r == '.' || r == '_' || r == '-' }

// validAlgorithmEnds reports whether a separator stands only between two components.
func validAlgorithmEnds(s string) bool {
	before := true
	for _, r := range s {
		now := isAlgorithmSeparator(r)
		if before && now {
			return false
		}
		before = now
	}
	return s != "" && !before
}

// A Reference names a manifest in a repository by tag or digest. The zero value names none.
type Reference struct{ text string }

// ParseReference reads a tag or a digest. Errors wrap ErrName.
func ParseReference(s string) (Reference, error) {
	if !ValidTag(s) && !ValidDigest(s) {
		return Reference{}, fmt.Errorf("%w: %.64q is neither tag nor digest", ErrName, s)
	}
	return Reference{text: s}, nil
}

// DigestReference names content by its digest.
func DigestReference(d blob.Digest) Reference { return Reference{text: d.String()} }

// String returns the form that ParseReference reads.
func (r Reference) String() string { return r.text }

// IsZero reports whether r names nothing.
func (r Reference) IsZero() bool { return r.text == "" }

// IsTag reports whether r is a tag, which may name other content tomorrow.
func (r Reference) IsTag() bool { return r.text != "" && !strings.Contains(r.text, ":") }

// Digest returns the SHA-256 digest that r is, if it is one.
func (r Reference) Digest() (blob.Digest, bool) {
	d, err := blob.ParseDigest(r.text)
	return d, err == nil
}

func isLower(c byte) bool { return c >= 'a' && c <= 'z' }
func isUpper(c byte) bool { return c >= 'A' && c <= 'Z' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
