package e2e

import (
	"os"
	"path/filepath"
	"testing"
)

// checkout is the main module's folder, seen from where go test runs these tests.
const checkout = "../.."

// skipped is what a run without root says.
const skipped = "SKIPPED e2e: needs root"

// NewLab is Site.NewLab for a test. It skips the test where there is no sandbox to run
// it in.
func NewLab(t *testing.T) *Lab {
	t.Helper()
	return testSite(t).NewLab(t)
}

// NewPrivateLab is Site.NewPrivateLab for a test, as NewLab.
func NewPrivateLab(t *testing.T, users ...User) *Lab {
	t.Helper()
	return testSite(t).NewPrivateLab(t, users...)
}

func testSite(t *testing.T) Site {
	t.Helper()
	sandbox := requireSandbox(t)
	return Site{
		Dir: sandbox, Logs: filepath.Join(checkout, "bin", "e2e-logs"),
		Tools:      FindTools(checkout, sandbox),
		ShoalFlags: []string{"--log-level", "debug"},
	}
}

// requireSandbox returns the sandbox's folder. Without one the test is skipped, or fails
// where E2E=require says that these tests must run.
func requireSandbox(t *testing.T) string {
	t.Helper()
	dir := SandboxDir()
	if dir != "" {
		return dir
	}
	if os.Getenv("E2E") == "require" { //nolint:forbidigo // a switch for whoever runs the tests
		t.Fatal(skipped)
	}
	t.Skip(skipped)
	return ""
}
