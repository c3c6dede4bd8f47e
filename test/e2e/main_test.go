package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestMain runs the tests inside a sandbox where there is root, and lets them skip
// where there is not.
func TestMain(m *testing.M) {
	os.Exit(inSandbox(m)) //nolint:forbidigo // a test binary's exit code is its result
}

func inSandbox(m *testing.M) int {
	if sandboxDir() != "" {
		if err := EnterSandbox(); err != nil {
			return complain(err)
		}
		return m.Run()
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, skipped)
		return m.Run()
	}
	sandbox, err := NewSandbox()
	if err != nil {
		return complain(err)
	}
	code, err := func() (int, error) {
		if err := PrepareTools(checkout, filepath.Join(sandbox.Dir, "bin")); err != nil {
			return 1, err
		}
		return sandbox.Run()
	}()
	if err != nil {
		code = complain(err)
	}
	if err := sandbox.Close(); err != nil {
		code = complain(err)
	}
	return code
}

func complain(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}
