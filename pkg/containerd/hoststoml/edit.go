package hoststoml

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// Errors of editing. The file is then as it was.
var (
	// ErrPresent says that somebody else has put the mirror into the file.
	ErrPresent = errors.New("the file names the mirror already, in lines that Shoal did not write")
	// ErrEdited says that Shoal's lines are there but not as Shoal wrote them.
	ErrEdited = errors.New("the lines of Shoal in it were edited")
	// ErrNoPlace says that the file is written in a way that leaves no place in front.
	ErrNoPlace = errors.New("no table can be added in front of its hosts")
)

const (
	beginMark = "# shoal:begin "
	endMark   = "# shoal:end"
	beginNote = " (taken out by: shoal containerd uninstall)"
)

// Certificates are what lies beside a hosts.toml that does not exist yet. containerd uses
// them for the registry only while there is no hosts.toml, which must name them therefore.
type Certificates struct {
	// CAs are file names.
	CAs []string
	// Pairs are certificates and their keys; a key is empty where the certificate's file
	// holds it.
	Pairs [][2]string
}

// Compose returns a new file: the mirror first, then the registry itself.
func Compose(m Mirror, c Certificates) []byte {
	var b strings.Builder
	if len(c.CAs) > 0 {
		fmt.Fprintf(&b, "ca = [%s]\n", quoted(c.CAs))
	}
	if len(c.Pairs) > 0 {
		pairs := make([]string, len(c.Pairs))
		for i, p := range c.Pairs {
			pairs[i] = quote(p[0])
			if p[1] != "" {
				pairs[i] = "[" + quoted(p[:]) + "]"
			}
		}
		fmt.Fprintf(&b, "client = [%s]\n", strings.Join(pairs, ", "))
	}
	return []byte(block(b.String()+table(m)) + "\n")
}

// Enforce returns a new file that leaves no way around the mirror.
func Enforce(m Mirror) []byte { return []byte(block(fmt.Sprintf("server = %q\n", m.URL())) + "\n") }

// Insert puts the mirror in front of the hosts of a file. It adds lines and touches none.
// It fails with a *ParseError, ErrPresent, ErrEdited (there are lines of Shoal's already:
// Cut first) or ErrNoPlace.
func Insert(content []byte, m Mirror) ([]byte, error) {
	before, err := Parse(content)
	if err != nil {
		return nil, err
	}
	if before.flaw != nil {
		return nil, before.flaw
	}
	if bytes.Contains(content, []byte(beginMark)) || bytes.Contains(content, []byte(endMark)) {
		return nil, ErrEdited
	}
	if slices.ContainsFunc(before.Hosts, m.Is) || m.Is(before.Server) {
		return nil, ErrPresent
	}
	after := splice(content, table(m))
	if !proves(before, after, m) {
		return nil, ErrNoPlace
	}
	return after, nil
}

// splice adds a block in front of the first table, or at the end.
func splice(content []byte, tables string) []byte {
	lines, newline := block(tables), "\n"
	if i := bytes.IndexByte(content, '\n'); i > 0 && content[i-1] == '\r' {
		newline = "\r\n"
		lines = strings.ReplaceAll(lines, "\n", newline)
	}
	at := place(content)
	if at == len(content) && at > 0 && content[at-1] != '\n' {
		// Without a last newline before, without one after: that is how Cut knows.
		return slices.Concat(content, []byte(newline+lines))
	}
	return slices.Concat(content[:at], []byte(lines+newline), content[at:])
}

// place is where the first table begins, with the comment directly above it, unless that
// is the first of the file and may be about all of it. Keys further up stay out of reach
// of the new table. content is well-formed.
func place(content []byte) int {
	lineStart := func(at uint32) int { return bytes.LastIndexByte(content[:at], '\n') + 1 }
	comment, commentEnd := 0, -1
	p := unstable.Parser{KeepComments: true}
	p.Reset(content)
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind == unstable.Comment {
			start := lineStart(e.Raw.Offset)
			if start != commentEnd {
				comment = start
			}
			commentEnd = len(content)
			if i := bytes.IndexByte(content[start:], '\n'); i >= 0 {
				commentEnd = start + i + 1
			}
		}
		if e.Kind == unstable.Table || e.Kind == unstable.ArrayTable {
			key := e.Key()
			key.Next()
			start := lineStart(key.Node().Raw.Offset)
			if start == commentEnd && comment > 0 {
				return comment
			}
			return start
		}
	}
	return len(content)
}

// proves reports whether after is before with the mirror in front, and nothing else.
func proves(before File, after []byte, m Mirror) bool {
	got, err := Parse(after)
	if err != nil || got.flaw != nil || len(got.Hosts) == 0 || got.Hosts[0].Key != m.URL() {
		return false
	}
	return reflect.DeepEqual(got.Hosts[1:], append([]Host{}, before.Hosts...)) &&
		reflect.DeepEqual(got.Server, before.Server) &&
		reflect.DeepEqual(got.without(m.URL()), before.without(""))
}

// without is the document less one host. An empty table of hosts is none.
func (f File) without(key string) map[string]any {
	document := maps.Clone(f.document)
	hosts, ok := document["host"].(map[string]any)
	if !ok {
		return document
	}
	hosts = maps.Clone(hosts)
	delete(hosts, key)
	document["host"] = hosts
	if len(hosts) == 0 {
		delete(document, "host")
	}
	return document
}

// Cut takes out the lines that Insert, Compose or Enforce added, and reports whether there
// were any. It fails with ErrEdited when they are not as they were written, or when others
// have written something among them.
func Cut(content []byte) (rest []byte, found bool, err error) {
	begins, ends := bytes.Count(content, []byte(beginMark)), bytes.Count(content, []byte(endMark))
	if begins == 0 && ends == 0 {
		return content, false, nil
	}
	if len(content) > SizeMax {
		return nil, false, ErrTooLarge
	}
	start, end := bytes.Index(content, []byte(beginMark)), bytes.Index(content, []byte(endMark))
	if begins != 1 || ends != 1 || end < start || start > 0 && content[start-1] != '\n' {
		return nil, false, ErrEdited
	}
	end += len(endMark)
	lines := strings.ReplaceAll(string(content[start:end]), "\r\n", "\n")
	first, body, _ := strings.Cut(lines, "\n")
	body = strings.TrimSuffix(body, endMark)
	if first != beginLine(body) {
		return nil, false, ErrEdited
	}
	tail := content[end:]
	switch {
	case len(tail) == 0: // Insert added a newline in front
		start = len(bytes.TrimSuffix(bytes.TrimSuffix(content[:start], []byte("\n")), []byte("\r")))
	case bytes.HasPrefix(tail, []byte("\r\n")):
		tail = tail[2:]
	case tail[0] == '\n':
		tail = tail[1:]
	default:
		return nil, false, ErrEdited
	}
	return slices.Concat(content[:start], tail), true, nil
}

func table(m Mirror) string {
	return fmt.Sprintf("[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n  dial_timeout = \"200ms\"\n", m.URL())
}

// block marks lines, each with its newline, as Shoal's. The last newline is the caller's.
func block(lines string) string {
	return beginLine(lines) + "\n" + lines + endMark
}

func beginLine(lines string) string {
	return fmt.Sprintf("%s%08x%s", beginMark, crc32.ChecksumIEEE([]byte(lines)), beginNote)
}

func quoted(texts []string) string {
	all := make([]string, len(texts))
	for i, s := range texts {
		all[i] = quote(s)
	}
	return strings.Join(all, ", ")
}

// quote writes a basic string of TOML. What TOML forbids in one is escaped.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
