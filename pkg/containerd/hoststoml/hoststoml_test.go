package hoststoml_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/remotes/docker"

	"github.com/shoal-project/shoal/pkg/containerd/hoststoml"
)

func logless() context.Context { return context.Background() }

func mirror(tb testing.TB, address string) hoststoml.Mirror {
	tb.Helper()
	m, err := hoststoml.ParseMirror(address)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// corpus is files as people and tools write them.
func corpus(tb testing.TB) map[string][]byte {
	tb.Helper()
	names, err := filepath.Glob("testdata/corpus/*.toml")
	if err != nil || len(names) < 20 {
		tb.Fatalf("%d files, %v", len(names), err)
	}
	files := map[string][]byte{}
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			tb.Fatal(err)
		}
		files[filepath.Base(name)] = content
	}
	return files
}

const shoalHost = "http://127.0.0.1:6050/v2 3 map[] tls: skip=false roots=false certificates=0"

// What containerd asks afterwards is the mirror and then what it asked before, and taking
// the mirror out again gives back the bytes. An empty file is none to containerd: there
// it falls back to certificates, of which this test has none.
func TestInsertAddsTheMirrorAndNothingElse(t *testing.T) {
	o := newOracle(t)
	m := mirror(t, "127.0.0.1:6050")
	for name, before := range corpus(t) {
		after, err := hoststoml.Insert(before, m)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		f, err := hoststoml.Parse(before)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		want, err := o.hosts(before, filesOf(f))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := o.hosts(after, filesOf(f))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if want = append([]string{shoalHost}, want...); !slices.Equal(got, want) {
			t.Errorf("%s: containerd asks\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		rest, found, err := hoststoml.Cut(after)
		if err != nil || !found || !bytes.Equal(rest, before) {
			t.Errorf("%s: cut to %q, %v, %v", name, rest, found, err)
		}
		if lines := removed(before, after); lines != 0 {
			t.Errorf("%s: %d lines are not where they were", name, lines)
		}
	}
}

// removed counts the lines of before that after does not have, in order.
func removed(before, after []byte) int {
	left := strings.Split(string(after), "\n")
	missing := 0
	for line := range strings.SplitSeq(strings.TrimSuffix(string(before), "\n"), "\n") {
		i := slices.IndexFunc(left, func(s string) bool { return strings.TrimSuffix(s, "\r") == strings.TrimSuffix(line, "\r") })
		if i < 0 {
			missing++
			continue
		}
		left = left[i+1:]
	}
	return missing
}

// Parse is what containerd makes of the file: hosts, order, paths and capabilities.
func TestParseAgreesWithContainerd(t *testing.T) {
	o := newOracle(t)
	for name, content := range corpus(t) {
		f, err := hoststoml.Parse(content)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		asked, err := o.hosts(content, filesOf(f))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		compareHosts(t, name, f, asked)
	}
}

func compareHosts(t *testing.T, name string, f hoststoml.File, asked []string) {
	t.Helper()
	ours := append(slices.Clone(f.Hosts), f.Server)
	if len(ours) != len(asked) {
		t.Errorf("%s: %d hosts, containerd has %d", name, len(ours), len(asked))
		return
	}
	for i, h := range ours {
		want := fmt.Sprintf("%s://%s%s %d ", h.Scheme, h.Authority, h.Path, containerdBits(h.Capabilities))
		if h.Authority == "" && i == len(f.Hosts) {
			want = fmt.Sprintf("https://registry.test/v2 %d ", containerdBits(h.Capabilities))
		}
		if h.TLS && h.Scheme == "http" { // then it tries https first
			want = strings.Replace(want, "http:", "https:", 1)
		}
		if !strings.HasPrefix(asked[i], want) {
			t.Errorf("%s: host %d is %s, containerd has %s", name, i, want, asked[i])
		}
	}
}

func containerdBits(c hoststoml.Capability) (bits docker.HostCapabilities) {
	for ours, theirs := range map[hoststoml.Capability]docker.HostCapabilities{
		hoststoml.Pull: docker.HostCapabilityPull, hoststoml.Resolve: docker.HostCapabilityResolve,
		hoststoml.Push: docker.HostCapabilityPush, hoststoml.Referrers: docker.HostCapabilityReferrers,
	} {
		if c&ours != 0 {
			bits |= theirs
		}
	}
	return bits
}

func TestInsertText(t *testing.T) {
	m := mirror(t, "127.0.0.1:6050")
	const lines = `# shoal:begin 2d4556e7 (taken out by: shoal containerd uninstall)
[host."http://127.0.0.1:6050"]
  capabilities = ["pull", "resolve"]
  dial_timeout = "200ms"
# shoal:end
`
	for name, c := range map[string]struct{ before, after string }{
		"nothing":             {"", lines},
		"keys only":           {"server = \"https://a\"\n", "server = \"https://a\"\n" + lines},
		"no last newline":     {"server = \"https://a\"", "server = \"https://a\"\n" + strings.TrimSuffix(lines, "\n")},
		"a table":             {"[host.\"https://a\"]\n", lines + "[host.\"https://a\"]\n"},
		"its comment":         {"x = 1\n# about a\n# more\n[host.\"https://a\"]\n", "x = 1\n" + lines + "# about a\n# more\n[host.\"https://a\"]\n"},
		"the file's comment":  {"# about all\n[host.\"https://a\"]\n", "# about all\n" + lines + "[host.\"https://a\"]\n"},
		"a comment of itself": {"x = 1\n# about x\n\n[host.\"https://a\"]\n", "x = 1\n# about x\n\n" + lines + "[host.\"https://a\"]\n"},
		"Windows": {
			"x = 1\r\n[host.\"https://a\"]\r\n",
			"x = 1\r\n" + strings.ReplaceAll(lines, "\n", "\r\n") + "[host.\"https://a\"]\r\n",
		},
	} {
		after, err := hoststoml.Insert([]byte(c.before), m)
		if err != nil || string(after) != c.after {
			t.Errorf("%s: %v\n%s", name, err, after)
		}
	}
}

func TestInsertRefuses(t *testing.T) {
	m := mirror(t, "127.0.0.1:6050")
	inserted, err := hoststoml.Insert(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		content string
		want    error
	}{
		"a mirror by hand":        {"[host.\"http://127.0.0.1:6050\"]\n", hoststoml.ErrPresent},
		"the same by its name":    {"[host.\"http://localhost:6050/v2\"]\n", hoststoml.ErrPresent},
		"the server":              {"server = \"http://127.0.0.1:6050\"\n", hoststoml.ErrPresent},
		"its own lines":           {string(inserted), hoststoml.ErrEdited},
		"an inline table":         {"host = { \"https://a\" = {} }\n", hoststoml.ErrNoPlace},
		"the mirror, never asked": {"[host]\n\"http://127.0.0.1:6050\" = {}\n", hoststoml.ErrNoPlace},
		"huge":                    {strings.Repeat("#", hoststoml.SizeMax+1), hoststoml.ErrTooLarge},
	} {
		if after, err := hoststoml.Insert([]byte(c.content), m); !errors.Is(err, c.want) || after != nil {
			t.Errorf("%s: %v, %q", name, err, after)
		}
	}
}

func TestMalformed(t *testing.T) {
	o := newOracle(t)
	m := mirror(t, "127.0.0.1:6050")
	for content, want := range map[string]string{
		"[host.\"https://a\"\n": "line 1: ",
		"server = \"https://a\"\n[host.\"https://b\"]\n  a = [1\n":        "line 3: ",
		"[host.\"https://a\"]\ncapabilities = [\"pull\", \"download\"]\n": `host "https://a": unknown capability "download"`,
		"[host.\"https://a\"]\ncapabilities = \"pull\"\n":                 "line 2: ",
		"[host.\"https://a\"]\nca = 5\n":                                  `host "https://a": ca must be`,
		"[host.\"https://a\"]\nca = [5]\n":                                `host "https://a": ca must be`,
		"client = [[\"a\"]]\n":                                            "server: client must be",
		"client = 1\n":                                                    "server: client must be",
		"[host.\"https://a\".header]\nx = 1\n":                            `host "https://a": a header must be`,
		"[host.\"https://a\".header]\nx = [1]\n":                          `host "https://a": a header must be`,
		"[host.\"https://a\"]\ndial_timeout = \"soon\"\n":                 `dial_timeout "soon" is not a time`,
		"[host.\"http://user:secret@a b\"]\n":                             `host "http://...@a b": it is not a URL`,
		"[host.\"user:secret@a b\"]\n":                                    `host "...@a b": it is not a URL`,
		"server = \"https://\x7f\"\n":                                     "",
		"\xef\xbb\xbfserver = \"https://a\"\n":                            "line 1: ", // a byte order mark
		"\xff\xfes\x00e\x00":                                              "line 1: ", // UTF-16
		"server = \"https://a\"\nserver = \"https://b\"\n":                "line 2: ",
		"[[host]]\n":                                    "",
		"a = " + strings.Repeat("[", 100_000):           "",
		"server = \"\xc3\x28\"\n":                       "line 1: ",
		"x = \"" + strings.Repeat("y", 1000) + "\"\nz=": "",
	} {
		_, err := hoststoml.Parse([]byte(content))
		if _, ok := errors.AsType[*hoststoml.ParseError](err); !ok || !strings.Contains(err.Error(), want) || len(err.Error()) > 500 {
			t.Errorf("%.40q: %v, want %q", content, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: a password is told: %v", content, err)
		}
		if after, err := hoststoml.Insert([]byte(content), m); err == nil {
			t.Errorf("%q was edited to %q", content, after)
		}
		// To containerd it is as if the file were not there.
		if asked, err := o.hosts([]byte(content), nil); err != nil || len(asked) != 1 || !strings.HasPrefix(asked[0], "https://registry.test/v2 ") {
			t.Errorf("%.40q: containerd asks %v, %v", content, asked, err)
		}
	}
}

func TestCutLeavesWhatOthersWrote(t *testing.T) {
	inserted, err := hoststoml.Insert([]byte("server = \"https://a\"\n[host.\"https://b\"]\n"), mirror(t, "127.0.0.1:6050"))
	if err != nil {
		t.Fatal(err)
	}
	text := string(inserted)
	edited := "# more\n" + text + "  skip_verify = true\n"
	rest, found, err := hoststoml.Cut([]byte(edited))
	if want := "# more\nserver = \"https://a\"\n[host.\"https://b\"]\n  skip_verify = true\n"; err != nil || !found || string(rest) != want {
		t.Errorf("%v, %v, %q", found, err, rest)
	}
	for name, content := range map[string]string{
		"a changed line": strings.Replace(text, "200ms", "300ms", 1),
		"a line added":   strings.Replace(text, "# shoal:end", "[host.\"https://c\"]\n# shoal:end", 1),
		"no end":         strings.Replace(text, "# shoal:end", "", 1),
		"no begin":       strings.Replace(text, "# shoal:begin", "#", 1),
		"twice":          text + text,
		"end first":      "# shoal:end\n" + strings.Replace(text, "# shoal:end", "", 1),
		"glued to":       strings.Replace(text, "# shoal:end", "# shoal:end x", 1),
		"in a value":     strings.Replace(text, "# shoal:begin", "x = 1 # shoal:begin", 1),
	} {
		if rest, _, err := hoststoml.Cut([]byte(content)); !errors.Is(err, hoststoml.ErrEdited) {
			t.Errorf("%s: %v, %q", name, err, rest)
		}
	}
	if rest, found, err := hoststoml.Cut([]byte("x = 1\n")); found || err != nil || string(rest) != "x = 1\n" {
		t.Errorf("%v, %v, %q", found, err, rest)
	}
}

// A new file goes on naming the certificates beside it, which containerd itself uses only
// while there is no hosts.toml.
func TestComposeKeepsCertificates(t *testing.T) {
	o := newOracle(t)
	certificates := hoststoml.Certificates{
		CAs:   []string{"ca.crt", `od"d\.crt`, "tab\there.crt"},
		Pairs: [][2]string{{"client.cert", "client.key"}, {"both.cert", ""}},
	}
	content := hoststoml.Compose(mirror(t, "[::1]:6050"), certificates)
	f, err := hoststoml.Parse(content)
	if err != nil {
		t.Fatalf("%v in\n%s", err, content)
	}
	want := []string{"ca.crt", `od"d\.crt`, "tab\there.crt", "client.cert", "client.key", "both.cert"}
	if !slices.Equal(f.Server.Files, want) {
		t.Errorf("files %q", f.Server.Files)
	}
	simple := hoststoml.Compose(mirror(t, "[::1]:6050"), hoststoml.Certificates{CAs: []string{"ca.crt"}, Pairs: [][2]string{{"a.cert", "a.key"}, {"b.cert", ""}}})
	asked, err := o.hosts(simple, []string{"ca.crt", "a.cert", "a.key", "b.cert"})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{
		"http://[::1]:6050/v2 3 map[] tls: skip=false roots=false certificates=0",
		"https://registry.test/v2 15 map[] tls: skip=false roots=true certificates=2",
	}; !slices.Equal(asked, want) {
		t.Errorf("containerd asks %q", asked)
	}
	if rest, found, err := hoststoml.Cut(content); err != nil || !found || len(rest) != 0 {
		t.Errorf("%v, %v, %q", found, err, rest)
	}
}

func TestEnforceLeavesNoWayAround(t *testing.T) {
	o := newOracle(t)
	content := hoststoml.Enforce(mirror(t, "127.0.0.1:6050"))
	asked, err := o.hosts(content, nil)
	if err != nil || len(asked) != 1 || !strings.HasPrefix(asked[0], "http://127.0.0.1:6050/v2 ") {
		t.Errorf("containerd asks %q, %v", asked, err)
	}
	f, err := hoststoml.Parse(content)
	if m := mirror(t, "127.0.0.1:6050"); err != nil || len(f.Hosts) != 0 || !m.Is(f.Server) {
		t.Errorf("%+v, %v", f, err)
	}
	if rest, found, err := hoststoml.Cut(content); err != nil || !found || len(rest) != 0 {
		t.Errorf("%v, %v, %q", found, err, rest)
	}
}

func TestMirror(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:6050": "http://127.0.0.1:6050", "127.8.8.8:1": "http://127.8.8.8:1", "localhost:6050": "http://localhost:6050",
		"[::1]:6050": "http://[::1]:6050", "[::ffff:127.0.0.1]:6050": "http://127.0.0.1:6050",
	} {
		if got := mirror(t, address).URL(); got != want {
			t.Errorf("%s: %s", address, got)
		}
	}
	for _, address := range []string{
		"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "10.0.0.1:6050", ":6050", "0.0.0.0:6050", "[::]:6050",
		"example.org:6050", "127.0.0.1:6050/x", "[::1%lo]:6050", strings.Repeat("9", 10_000) + ":1",
	} {
		if m, err := hoststoml.ParseMirror(address); err == nil || len(err.Error()) > 300 {
			t.Errorf("%.40q: %v, %v", address, m, err)
		}
	}
}

func TestMirrorIs(t *testing.T) {
	for _, c := range []struct {
		key, mirror string
		is, local   bool
	}{
		{"http://127.0.0.1:6050", "127.0.0.1:6050", true, true},
		{"http://127.0.0.1:6050/v2", "127.0.0.1:6050", true, true},
		{"http://127.0.0.1:6050/v2/", "127.0.0.1:6050", true, true},
		{"http://localhost:6050", "127.0.0.1:6050", true, true},
		{"http://127.0.0.1:6050", "localhost:6050", true, true},
		{"http://[::1]:6050", "localhost:6050", true, true},
		{"http://[::1]:6050", "127.0.0.1:6050", false, true},
		{"http://127.0.0.2:6050", "127.0.0.1:6050", false, true},
		{"http://127.0.0.1:6051", "127.0.0.1:6050", false, true},
		{"http://127.0.0.1:6050/", "127.0.0.1:6050", false, true},  // containerd asks //v2/
		{"http://127.0.0.1:6050/x", "127.0.0.1:6050", false, true}, // and /x/v2/
		{"https://127.0.0.1:6050", "127.0.0.1:6050", false, false},
		{"127.0.0.1:6050", "127.0.0.1:6050", false, false}, // means https
		{"http://127.0.0.1", "127.0.0.1:80", true, true},
		{"http://10.0.0.1:6050", "127.0.0.1:6050", false, false},
	} {
		f, err := hoststoml.Parse(fmt.Appendf(nil, "[host.%q]\n", c.key))
		if err != nil || len(f.Hosts) != 1 {
			t.Fatalf("%s: %v, %v", c.key, f, err)
		}
		if h := f.Hosts[0]; mirror(t, c.mirror).Is(h) != c.is || h.OnLoopback() != c.local {
			t.Errorf("%s is %s: %v, on loopback: %v", c.key, c.mirror, !c.is, !c.local)
		}
	}
}

func TestParseReadsSettings(t *testing.T) {
	f, err := hoststoml.Parse([]byte("[host.\"https://a\"]\ndial_timeout = \"3s\"\n[host.\"https://a\".header]\nx = \"1\"\n"))
	if err != nil || len(f.Hosts) != 1 || f.Hosts[0].DialTimeout != 3*time.Second || !f.Hosts[0].Headers {
		t.Errorf("%+v, %v", f, err)
	}
}
