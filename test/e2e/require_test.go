package e2e

import (
	"os"
	"testing"
)

// checkout is the main module's folder, seen from where go test runs these tests.
const checkout = "../.."

// skipped is what a run without root says.
const skipped = "SKIPPED e2e: needs root"

// sandboxDir is the folder of the sandbox that this process is in, or "" outside.
func sandboxDir() string {
	return os.Getenv(sandboxVariable) //nolint:forbidigo // how a process is told that it is the inner one
}

// requireSandbox returns the sandbox's folder. Without one the test is skipped, or fails
// where E2E=require says that these tests must run.
func requireSandbox(t *testing.T) string {
	t.Helper()
	dir := sandboxDir()
	if dir != "" {
		return dir
	}
	if os.Getenv("E2E") == "require" { //nolint:forbidigo // a switch for whoever runs the tests
		t.Fatal(skipped)
	}
	t.Skip(skipped)
	return ""
}
