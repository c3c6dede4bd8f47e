// Package arch_test holds the rules about who may import whom. It parses the files
// itself: a test that shells out to the go tool would stay cached and green.
package arch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	module = "github.com/shoal-project/shoal/"
	root   = "../.."
)

// Pure packages compute: no operating system, network, clock, lock or goroutine.
var pure = []string{"scheduler", "scheduler/sim", "pkg/blob", "pkg/chain", "pkg/wire", "pkg/manifest", "pkg/containerd/hoststoml", "pkg/probeimage", "pkg/jsondepth"}

// What a pure package may import of the world outside the standard library.
var pureAllowed = []string{
	"github.com/opencontainers/go-digest",
	"github.com/opencontainers/image-spec/specs-go/v1",
	"github.com/pelletier/go-toml/v2",
	"github.com/pelletier/go-toml/v2/unstable",
	"google.golang.org/protobuf/encoding/protowire",
}

var impure = []string{
	"context", "crypto/rand", "log", "log/slog", "math/rand", "net", "net/http", "os", "os/signal", "sync", "sync/atomic",
	"syscall", "testing", "io/fs", "runtime", "path/filepath",
}

// layers are the packages from the top down: a package may import only what stands below
// it. Packages on one line do not import each other; pkg/daemon joins them.
var layers = [][]string{
	{"cmd/shoal", "deploy/image"},
	{"pkg/daemon"},
	{"proxy", "p2p", "p2p/discovery", "p2p/exchange", "p2p/resolve", "pkg/engine", "pkg/admin", "pkg/metrics", "pkg/containerd", "pkg/prefetch", "pkg/containerd/criprobe"},
	{"p2p/admission", "pkg/config"},
	{"pkg/store", "pkg/content", "pkg/content/socket", "pkg/upstream", "pkg/credentials", "scheduler/sim", "pkg/containerd/configtoml", "pkg/containerd/hostfs", "pkg/containerd/hoststoml"},
	{"scheduler"},
	{"pkg/manifest", "pkg/wire", "pkg/meter", "pkg/probeimage"},
	{"pkg/chain"},
	{"pkg/blob", "pkg/jsondepth"},
}

// Exceptions within one line, each with its reason.
var siblings = map[string][]string{
	"pkg/metrics":        {"pkg/admin"},   // the same figures under two names
	"p2p/discovery":      {"p2p"},         // works on the host
	"pkg/content/socket": {"pkg/content"}, // speaks for its Runtime
	// what it does belongs to a check
	"pkg/containerd/criprobe": {"pkg/containerd"},
}

// An importer is one package of the tree and what its non-test files import.
type importer struct {
	name    string
	imports map[string][]string // import path -> files
}

func packages(t *testing.T) []importer {
	t.Helper()
	byDir := map[string]*importer{}
	err := filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if rel != "." && (strings.HasPrefix(entry.Name(), ".") || slices.Contains([]string{"bin", "dist", "testdata", "test"}, entry.Name())) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		return addImports(byDir, filepath.ToSlash(rel), file)
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(byDir) == 0 {
		t.Fatal("found no package at all")
	}
	all := make([]importer, 0, len(byDir))
	for _, p := range byDir {
		all = append(all, *p)
	}
	slices.SortFunc(all, func(a, b importer) int { return strings.Compare(a.name, b.name) })
	return all
}

func addImports(byDir map[string]*importer, rel, file string) error {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		return err
	}
	dir := path.Dir(rel)
	if byDir[dir] == nil {
		byDir[dir] = &importer{name: dir, imports: map[string][]string{}}
	}
	for _, spec := range parsed.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		byDir[dir].imports[name] = append(byDir[dir].imports[name], path.Base(rel))
	}
	return nil
}

func TestPurePackagesTouchNothing(t *testing.T) {
	for _, p := range packages(t) {
		if !slices.Contains(pure, p.name) {
			continue
		}
		for name, files := range p.imports {
			own, isOwn := strings.CutPrefix(name, module)
			switch {
			case isOwn && !slices.Contains(pure, own):
				t.Errorf("%s imports %s, which is not pure (%v)", p.name, own, files)
			case slices.Contains(impure, name):
				t.Errorf("%s imports %s: a pure package takes time and randomness as arguments (%v)", p.name, name, files)
			case !isOwn && strings.Contains(name, ".") && !slices.Contains(pureAllowed, name):
				t.Errorf("%s imports %s, a module that is not known to be pure (%v)", p.name, name, files)
			}
		}
	}
}

func TestImportsPointDownwards(t *testing.T) {
	level := map[string]int{}
	for i, line := range layers {
		for _, name := range line {
			level[name] = i
		}
	}
	for _, p := range packages(t) {
		from, known := level[p.name]
		if !known {
			t.Errorf("%s stands on no line of layers: give it its place", p.name)
			continue
		}
		for name, files := range p.imports {
			own, isOwn := strings.CutPrefix(name, module)
			if !isOwn || slices.Contains(siblings[p.name], own) {
				continue
			}
			if to, known := level[own]; known && to <= from {
				t.Errorf("%s imports %s, which does not stand below it (%v)", p.name, own, files)
			}
		}
	}
}

func TestOnlyTheStoreMakesProvenBlobs(t *testing.T) {
	for _, p := range packages(t) {
		if files, ok := p.imports["crypto/sha256"]; ok && !slices.Contains(hashers, p.name) {
			t.Errorf("%s hashes (%v): what is proven is decided in pkg/store, by pkg/chain", p.name, files)
		}
	}
}

// hashers are the packages with a use for SHA-256.
var hashers = []string{
	"deploy/image", // the digest of a program in the list of what it was built from
	"pkg/chain",
	"pkg/store",      // small blobs whole
	"proxy",          // manifest bodies, keyed hashes of credentials
	"p2p/admission",  // HMAC of the swarm's secret
	"p2p/discovery",  // the DHT key of an image's tag
	"p2p/resolve",    // manifest bytes against their digest
	"pkg/containerd", // files of others before and after a change
	"pkg/daemon",     // the DHT key of a tag
	"pkg/prefetch",   // manifest bytes against their digest
	"pkg/probeimage", // the digests of an image that is part of the program
	"scheduler",      // rendezvous
}

// A daemon that lies is built for tests (test/e2e/hostiled). No release can be one: nothing
// in it comes from test, and its command puts nothing around the node.
func TestReleasesCannotLie(t *testing.T) {
	for _, p := range packages(t) {
		for name, files := range p.imports {
			if strings.HasPrefix(name, module+"test/") {
				t.Errorf("%s imports %s, which is for tests (%v)", p.name, name, files)
			}
		}
	}
	sources, err := filepath.Glob(filepath.Join(root, "cmd", "shoal", "*.go"))
	if err != nil || len(sources) == 0 {
		t.Fatalf("no source of cmd/shoal: %v", err)
	}
	for _, source := range sources {
		parsed, err := parser.ParseFile(token.NewFileSet(), source, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if name, ok := n.(*ast.Ident); ok && name.Name == "Around" {
				t.Errorf("%s puts something around the node", source)
			}
			return true
		})
	}
}
