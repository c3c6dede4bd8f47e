package e2e

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// A Lie is what a liar does.
type Lie string

// The lies.
const (
	WrongChunks Lie = "chunks" // every chunk it sends has a wrong byte
	WrongChain  Lie = "chain"  // every chain it sends has a wrong state
)

// PrepareLiar compiles the daemon with one difference: what it sends to its peers. The
// checkout is not touched: the go command is shown changed copies of files of p2p/exchange,
// in which the methods that send have other names, and one more file with methods that lie.
func PrepareLiar(root, sandbox string) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	bin := filepath.Join(sandbox, "bin")
	exchange := filepath.Join(root, "p2p", "exchange")
	changed, err := renameMethods(exchange, map[string]string{"Send": "sendTrue", "SendChunk": "sendTrueChunk"})
	if err != nil {
		return fmt.Errorf("building the liar: %w", err)
	}
	replace := map[string]string{
		filepath.Join(exchange, "lie.go"): filepath.Join(root, "test", "e2e", "testdata", "liar", "lie.go"),
	}
	for original, text := range changed {
		replace[original] = filepath.Join(bin, "exchange-"+filepath.Base(original))
		if err := os.WriteFile(replace[original], text, 0o600); err != nil {
			return err
		}
	}
	return buildChanged(root, filepath.Join(bin, "liar"), replace)
}

// renameMethods finds the declarations of methods in the package in dir, by their names
// alone. It returns the texts of their files with the methods renamed there, and their
// callers unchanged.
func renameMethods(dir string, names map[string]string) (map[string][]byte, error) {
	sources, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	left, changed := maps.Clone(names), make(map[string][]byte)
	for _, source := range sources {
		files := token.NewFileSet()
		parsed, err := parser.ParseFile(files, source, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		renamed := false
		for _, declared := range parsed.Decls {
			method, ok := declared.(*ast.FuncDecl)
			if !ok || method.Recv == nil || left[method.Name.Name] == "" {
				continue
			}
			was := method.Name.Name
			method.Name.Name, renamed = left[was], true
			delete(left, was)
		}
		if !renamed {
			continue
		}
		var text bytes.Buffer
		if err := format.Node(&text, files, parsed); err != nil {
			return nil, err
		}
		changed[source] = text.Bytes()
	}
	if len(left) > 0 {
		return nil, fmt.Errorf("no methods %q in %s", slices.Sorted(maps.Keys(left)), dir)
	}
	return changed, nil
}
