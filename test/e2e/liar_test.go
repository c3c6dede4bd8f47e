package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
)

// buildLiar compiles the daemon with one difference: every chunk that it sends to a
// peer has a wrong byte. The checkout is not touched: the go command is shown a changed
// copy of one file of p2p/exchange, in which the method SendChunk has another name,
// and one more file, testdata/liar/lie.go, with a SendChunk that lies.
func buildLiar(root, bin string) error {
	exchange := filepath.Join(root, "p2p", "exchange")
	original, changed, err := renameMethod(exchange, "SendChunk", "sendTrueChunk")
	if err != nil {
		return fmt.Errorf("building the liar: %w", err)
	}
	copied := filepath.Join(bin, "exchange.go")
	overlay := filepath.Join(bin, "overlay.json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {
		original:                          copied,
		filepath.Join(exchange, "lie.go"): filepath.Join(root, "test", "e2e", "testdata", "liar", "lie.go"),
	}})
	if err != nil {
		return err
	}
	if err := errors.Join(os.WriteFile(copied, changed, 0o600), os.WriteFile(overlay, replace, 0o600)); err != nil {
		return err
	}
	return build(root, filepath.Join(bin, "liar"), "./cmd/shoal", "-overlay", overlay)
}

// renameMethod finds the declaration of a method in the package in dir. It returns the
// file's name and its text with the method renamed there, its callers unchanged.
func renameMethod(dir, from, to string) (string, []byte, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return "", nil, err
	}
	for _, name := range names {
		files := token.NewFileSet()
		parsed, err := parser.ParseFile(files, name, nil, parser.ParseComments)
		if err != nil {
			return "", nil, err
		}
		for _, declared := range parsed.Decls {
			method, ok := declared.(*ast.FuncDecl)
			if !ok || method.Recv == nil || method.Name.Name != from {
				continue
			}
			method.Name.Name = to
			var text bytes.Buffer
			if err := format.Node(&text, files, parsed); err != nil {
				return "", nil, err
			}
			return name, text.Bytes(), nil
		}
	}
	return "", nil, fmt.Errorf("no method %s in %s", from, dir)
}
