package arch_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every fuzz target has a corpus that go test runs, and a row in docs/security.md that says how
// long it was fuzzed.
func TestFuzzTargetsAreKept(t *testing.T) {
	docs, err := os.ReadFile(filepath.Join(root, "docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	targets := 0
	for file, text := range testFiles(t) {
		for _, m := range fuzzTarget.FindAllStringSubmatch(text, -1) {
			targets++
			dir := filepath.Dir(file)
			corpus, err := filepath.Glob(filepath.Join(root, dir, "testdata", "fuzz", m[1], "*"))
			if err != nil || len(corpus) == 0 {
				t.Errorf("%s of %s has no corpus (%v)", m[1], dir, err)
			}
			if row := fmt.Sprintf("| `%s` | `%s` |", m[1], dir); !strings.Contains(string(docs), row) {
				t.Errorf("docs/security.md has no row %s", row)
			}
		}
	}
	if targets < 30 {
		t.Errorf("%d targets: the search is wrong", targets)
	}
}

var fuzzTarget = regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)

// testFiles are the texts of all tests of this module, by their paths below the root.
func testFiles(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range []string{"*/*_test.go", "*/*/*_test.go", "*/*/*/*_test.go"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			below, err := filepath.Rel(root, file)
			if err != nil {
				t.Fatal(err)
			}
			texts[below] = string(text)
		}
	}
	return texts
}
