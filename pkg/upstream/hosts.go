package upstream

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// maxHostsFile bounds a hosts.toml, in bytes.
const maxHostsFile = 64 << 10

// ErrCertificates is wrapped by every error about a folder of certificates. None repeats a
// byte of a certificate or key.
var ErrCertificates = errors.New("certificates of a registry")

// A tlsFiles says which files hold what TLS to one host needs. Paths may be relative to the
// folder that said so.
type tlsFiles struct {
	ca         []string
	client     [][2]string // certificate and key; an empty second is in the first
	skipVerify bool
}

// A hostsFile is what a hosts.toml of containerd says about TLS. The rest of it is containerd's.
type hostsFile struct {
	Server string               `toml:"server"`
	Hosts  map[string]hostTable `toml:"host"`
	hostTable
}

type hostTable struct {
	CA         any  `toml:"ca"`
	Client     any  `toml:"client"`
	SkipVerify bool `toml:"skip_verify"`
}

// parseHosts returns what a hosts.toml says about TLS to base, the place where the registry of
// that folder is reached: in the table of that host, else at the top, where server stands
// for the registry itself. Errors wrap ErrCertificates.
func parseHosts(content []byte, base *url.URL) (tlsFiles, error) {
	if len(content) > maxHostsFile {
		return tlsFiles{}, fmt.Errorf("%w: hosts.toml has more than %d bytes", ErrCertificates, maxHostsFile)
	}
	var h hostsFile
	if err := toml.Unmarshal(content, &h); err != nil {
		return tlsFiles{}, fmt.Errorf("%w: hosts.toml is not understood", ErrCertificates) // the cause may repeat what stands there
	}
	for _, address := range slices.Sorted(maps.Keys(h.Hosts)) {
		if table := h.Hosts[address]; sameServer(address, base) && table.says() {
			return table.files()
		}
	}
	if h.Server == "" || sameServer(h.Server, base) {
		return h.files()
	}
	return tlsFiles{}, nil
}

// sameServer reports whether an address of a hosts.toml, which may lack https://, is base.
func sameServer(address string, base *url.URL) bool {
	if !strings.HasPrefix(address, "http") {
		address = "https://" + address
	}
	u, err := url.Parse(address)
	return err == nil && u.Scheme == base.Scheme && strings.EqualFold(u.Hostname(), base.Hostname()) && port(u) == port(base)
}

// says reports whether the table says anything about TLS.
func (t hostTable) says() bool { return t.CA != nil || t.Client != nil || t.SkipVerify }

// files reads the forms that containerd's documentation allows: one file, several, and for
// client certificates pairs of certificate and key.
func (t hostTable) files() (tlsFiles, error) {
	f := tlsFiles{skipVerify: t.SkipVerify}
	var ok bool
	if f.ca, ok = names(t.CA); !ok {
		return f, fmt.Errorf("%w: ca in hosts.toml must be a file or a list of files", ErrCertificates)
	}
	if one, ok := t.Client.(string); ok {
		f.client = [][2]string{{one}}
		return f, nil
	}
	list, ok := t.Client.([]any)
	if !ok && t.Client != nil {
		return f, fmt.Errorf("%w: client in hosts.toml must be a file, a list of files or a list of pairs", ErrCertificates)
	}
	for _, item := range list {
		pair, ok := names(item)
		if !ok || len(pair) == 0 || len(pair) > 2 {
			return f, fmt.Errorf("%w: client in hosts.toml has an entry that is neither a file nor a pair", ErrCertificates)
		}
		f.client = append(f.client, [2]string{pair[0], append(pair, "")[1]})
	}
	return f, nil
}

// names reads a file's name or a list of them; nil is none.
func names(v any) (_ []string, ok bool) {
	switch v := v.(type) {
	case nil:
		return nil, true
	case string:
		return []string{v}, true
	case []any:
		all := make([]string, 0, len(v))
		for _, item := range v {
			s, ok := item.(string)
			if !ok {
				return nil, false
			}
			all = append(all, s)
		}
		return all, true
	}
	return nil, false
}
