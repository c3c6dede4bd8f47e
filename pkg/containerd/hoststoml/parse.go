package hoststoml

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// SizeMax is the most that is read of a file, in bytes. Real ones have hundreds.
const SizeMax = 256 << 10

// ErrTooLarge says that a file is beyond SizeMax.
var ErrTooLarge = fmt.Errorf("it is larger than %d KiB", SizeMax>>10)

// A ParseError says why containerd does not accept a file. It then goes on as if the file
// were not there, and only logs it.
type ParseError struct {
	// Line counts from 1; 0 is not known.
	Line   int
	Reason string
}

func (e *ParseError) Error() string {
	if e.Line == 0 {
		return e.Reason
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Reason)
}

// A Capability is what a host may be asked for.
type Capability uint8

// The capabilities that containerd knows.
const (
	Pull Capability = 1 << iota
	Resolve
	Push
	Referrers

	everything = Pull | Resolve | Push | Referrers
)

// A File is what containerd makes of a hosts.toml.
type File struct {
	// Hosts are asked in this order.
	Hosts []Host
	// Server is asked last. Its Authority is empty where the file names none: it is the
	// registry itself then.
	Server Host

	// document is all of it, or nil with what is wrong outside of what containerd reads.
	document map[string]any
	flaw     *ParseError
}

// A Host is one place to ask.
type Host struct {
	// Key is the host as the file names it.
	Key string
	// Scheme, Authority (host and port) and Path are what containerd makes of Key.
	Scheme, Authority, Path string
	Capabilities            Capability
	// TLS is set where certificates or their verification are configured.
	TLS bool
	// Headers is set where requests carry headers of their own.
	Headers bool
	// Files are the certificates and keys as the file names them.
	Files []string
	// DialTimeout is 0 where none is set.
	DialTimeout time.Duration
}

// hostConfig is one host as it is written.
type hostConfig struct {
	Capabilities []string       `toml:"capabilities"`
	CA           any            `toml:"ca"`
	Client       any            `toml:"client"`
	SkipVerify   *bool          `toml:"skip_verify"`
	Header       map[string]any `toml:"header"`
	OverridePath bool           `toml:"override_path"`
	DialTimeout  string         `toml:"dial_timeout"`
}

// Parse reads a file as containerd does. It fails with ErrTooLarge, or with a *ParseError
// where containerd would ignore the file.
func Parse(content []byte) (File, error) {
	if len(content) > SizeMax {
		return File{}, ErrTooLarge
	}
	var written struct {
		hostConfig

		Server string                `toml:"server"`
		Hosts  map[string]hostConfig `toml:"host"`
	}
	if err := toml.Unmarshal(content, &written); err != nil {
		return File{}, parseError(err)
	}
	f := File{}
	// containerd skips values that it does not know, even where they are no TOML.
	if err := toml.Unmarshal(content, &f.document); err != nil {
		f.document, f.flaw = nil, parseError(err)
	}
	for _, key := range order(content) {
		h, err := written.Hosts[key].host(key)
		if err != nil {
			return File{}, &ParseError{Reason: fmt.Sprintf("host %q: %s", Redact(key), err)}
		}
		f.Hosts = append(f.Hosts, h)
	}
	server, err := written.host(written.Server)
	if err != nil {
		return File{}, &ParseError{Reason: fmt.Sprintf("server: %s", err)}
	}
	if server.Authority == "" { // the registry itself, for everything
		server.Scheme, server.Path, server.Capabilities = "", "", everything
	}
	f.Server = server
	return f, nil
}

func parseError(err error) *ParseError {
	reason := strings.TrimPrefix(err.Error(), "toml: ")
	if d, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, _ := d.Position()
		return &ParseError{Line: line, Reason: shorten(reason)}
	}
	return &ParseError{Reason: shorten(reason)}
}

// order lists the hosts that containerd asks, in order: those that have a table of their
// own. One written in another way is parsed and never asked; one whose sub-table stands
// behind another host is asked twice.
func order(content []byte) []string {
	var keys []string
	last := ""
	p := unstable.Parser{}
	p.Reset(content)
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind != unstable.Table {
			continue
		}
		parts := tableKey(e)
		if len(parts) < 2 || parts[0] != "host" || parts[1] == last {
			continue
		}
		last = parts[1]
		keys = append(keys, last)
	}
	return keys
}

func tableKey(e *unstable.Node) []string {
	var parts []string
	for it := e.Key(); it.Next(); {
		parts = append(parts, string(it.Node().Data))
	}
	return parts
}

func (c hostConfig) host(key string) (Host, error) {
	h := Host{Key: key, TLS: c.CA != nil || c.Client != nil || c.SkipVerify != nil, Headers: len(c.Header) > 0}
	var err error
	if h.Scheme, h.Authority, h.Path, err = endpoint(key, c.OverridePath); err != nil {
		return Host{}, err
	}
	if h.Capabilities, err = capabilities(c.Capabilities); err != nil {
		return Host{}, err
	}
	if h.Files, err = c.files(); err != nil {
		return Host{}, err
	}
	if err := checkHeaders(c.Header); err != nil {
		return Host{}, err
	}
	if c.DialTimeout != "" {
		if h.DialTimeout, err = time.ParseDuration(c.DialTimeout); err != nil {
			return Host{}, fmt.Errorf("dial_timeout %q is not a time, like 200ms", shorten(c.DialTimeout))
		}
	}
	return h, nil
}

func endpoint(key string, override bool) (scheme, authority, root string, err error) {
	if key == "" {
		return "", "", "", nil
	}
	if !strings.HasPrefix(key, "http") {
		key = "https://" + key
	}
	u, err := url.Parse(key)
	if err != nil {
		return "", "", "", errors.New("it is not a URL") // url's own error repeats it, and it may hold a password
	}
	root = u.Path
	if root != "" {
		root = path.Clean(root)
	}
	if !override && (root == "" || !strings.HasSuffix(root, "/v2")) {
		root += "/v2"
	}
	return u.Scheme, u.Host, root, nil
}

func capabilities(names []string) (Capability, error) {
	if len(names) == 0 {
		return everything, nil
	}
	var c Capability
	for _, name := range names {
		switch strings.ToLower(name) {
		case "pull":
			c |= Pull
		case "resolve":
			c |= Resolve
		case "push":
			c |= Push
		case "referrers":
			c |= Referrers
		default:
			return 0, fmt.Errorf("unknown capability %q", shorten(name))
		}
	}
	return c, nil
}

// files checks the types of ca and client and returns the files they name.
func (c hostConfig) files() ([]string, error) {
	var files []string
	switch ca := c.CA.(type) {
	case nil:
	case string:
		files = append(files, ca)
	case []any:
		names, ok := texts(ca)
		if !ok {
			return nil, errors.New("ca must be a file name or a list of them")
		}
		files = names
	default:
		return nil, errors.New("ca must be a file name or a list of them")
	}
	switch client := c.Client.(type) {
	case nil:
	case string:
		files = append(files, client)
	case []any:
		for _, one := range client {
			pair, isPair := one.([]any)
			if !isPair {
				pair = []any{one}
			}
			names, ok := texts(pair)
			if !ok || isPair && len(names) != 2 {
				return nil, errors.New("client must be a file name, a list of them, or a list of pairs")
			}
			files = append(files, names...)
		}
	default:
		return nil, errors.New("client must be a file name, a list of them, or a list of pairs")
	}
	return files, nil
}

func checkHeaders(headers map[string]any) error {
	for _, value := range headers {
		list, isList := value.([]any)
		_, isText := value.(string)
		_, allTexts := texts(list)
		if !isText && (!isList || !allTexts) {
			return errors.New("a header must be a text or a list of texts")
		}
	}
	return nil
}

func texts(values []any) ([]string, bool) {
	all := make([]string, 0, len(values))
	for _, v := range values {
		s, ok := v.(string)
		if !ok {
			return nil, false
		}
		all = append(all, s)
	}
	return all, true
}

// Redact is a host as a file names it, for people to read: bounded, and without a user and
// password.
func Redact(key string) string {
	if scheme, rest, ok := strings.Cut(key, "://"); ok {
		if at := strings.LastIndexByte(rest, '@'); at >= 0 {
			key = scheme + "://...@" + rest[at+1:]
		}
	} else if at := strings.LastIndexByte(key, '@'); at >= 0 {
		key = "...@" + key[at+1:]
	}
	return shorten(key)
}

// shorten bounds a text of the file in an error.
func shorten(s string) string {
	const longest = 100
	if runes := []rune(s); len(runes) > longest {
		return string(slices.Concat(runes[:longest], []rune("...")))
	}
	return s
}
