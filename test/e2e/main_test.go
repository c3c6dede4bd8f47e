package e2e

import (
	"fmt"
	"os"
	"testing"
)

// TestMain runs the tests inside a sandbox where there is root, and lets them skip
// where there is not.
func TestMain(m *testing.M) {
	os.Exit(inSandbox(m)) //nolint:forbidigo // a test binary's exit code is its result
}

func inSandbox(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, skipped)
		return m.Run()
	}
	prepare := func(dir string) error {
		if err := PrepareTools(checkout, dir); err != nil {
			return err
		}
		return PrepareHostile(checkout, dir)
	}
	code, err := InSandbox(prepare, m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return code
}
