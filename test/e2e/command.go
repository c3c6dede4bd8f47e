package e2e

import (
	"errors"
	"fmt"
	"os"
)

// RunCommand is the whole of a command that works in a sandbox, after its command line made sense:
// it prepares what is needed, works, and returns the exit code. It needs root. It runs twice,
// as InSandbox does.
func RunCommand(name string, prepare func(sandbox string) error, work func() error) int {
	if os.Geteuid() != 0 {
		return Complain(name, errors.New("needs root: it makes network namespaces and mounts"), 1)
	}
	code, err := InSandbox(prepare, func() int {
		if err := work(); err != nil {
			return Complain(name, err, 1)
		}
		return 0
	})
	if err != nil {
		return Complain(name, err, code)
	}
	return code
}

// Complain says what stopped a command, and returns the exit code.
func Complain(name string, err error, code int) int {
	_, _ = fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	return code
}
