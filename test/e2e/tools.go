package e2e

import (
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// containerdVersion is the containerd that containerd-facts and the tests speak of.
const containerdVersion = "v2.4.2"

// containerdModule is where it comes from.
const containerdModule = "github.com/containerd/containerd/v2"

// Tools are the programs that a lab runs.
type Tools struct {
	Containerd string // built from its module into bin/tools
	Shoal      string // built from this checkout
	Hostile    string // the same, lying to its peers; there after PrepareHostile
	Recorder   string // a member that compares what others send; there after PrepareHostile
	Profiled   string // the same with a way to profile it; there after PrepareProfiled
	Hello      string // the program inside the test images
	Registry   string // Debian's docker-registry
	Runc       string
}

// PrepareTools builds what is built here and installs or names what is not. It runs
// outside the sandbox because it may need the network. root is the checkout's folder,
// sandbox the sandbox's.
func PrepareTools(root, sandbox string) error {
	root, err := filepath.Abs(root)
	if err != nil {
		return err
	}
	if err := systemPackages(); err != nil {
		return err
	}
	cache, bin := filepath.Join(root, "bin", "tools"), filepath.Join(sandbox, "bin")
	if err := buildContainerd(cache); err != nil {
		return err
	}
	if err := build(filepath.Join(root, "test", "e2e"), filepath.Join(bin, "hello"), "./testdata/hello"); err != nil {
		return err
	}
	return build(root, filepath.Join(bin, "shoal"), "./cmd/shoal")
}

// FindTools returns where PrepareTools put everything.
func FindTools(root, sandbox string) Tools {
	if absolute, err := filepath.Abs(root); err == nil {
		root = absolute
	}
	bin := filepath.Join(sandbox, "bin")
	return Tools{
		Containerd: filepath.Join(root, "bin", "tools", "containerd"),
		Shoal:      filepath.Join(bin, "shoal"),
		Hostile:    filepath.Join(bin, "hostiled"),
		Recorder:   filepath.Join(bin, "recorder"),
		Profiled:   filepath.Join(bin, "profiled"),
		Hello:      filepath.Join(bin, "hello"),
		Registry:   "docker-registry",
		Runc:       "runc",
	}
}

// systemPackages makes sure of the programs that come with the distribution.
func systemPackages() error {
	packages := map[string]string{
		"runc": "runc", "docker-registry": "docker-registry",
		"ip": "iproute2", "tc": "iproute2", "nsenter": "util-linux",
	}
	var missing, install []string
	for program, debian := range packages {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, program)
			install = append(install, debian)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("e2e: missing programs: %s", strings.Join(missing, ", "))
	}
	update := command("apt-get", "update", "-qq")
	args := append([]string{"DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "-qq", "--no-install-recommends"}, install...)
	if err := command("env", args...); err != nil {
		return errors.Join(fmt.Errorf("e2e: missing programs: %s", strings.Join(missing, ", ")), update, err)
	}
	return nil
}

// buildContainerd installs the wanted version into cache unless it is there already:
// the program itself says which version it is.
func buildContainerd(cache string) error {
	info, err := buildinfo.ReadFile(filepath.Join(cache, "containerd"))
	if err == nil && info.Main.Path == containerdModule && info.Main.Version == containerdVersion {
		return nil
	}
	if err := os.MkdirAll(cache, 0o750); err != nil {
		return err
	}
	cmd := exec.CommandContext(context.Background(), "go", "install", containerdModule+"/cmd/containerd@"+containerdVersion)
	cmd.Env = append(os.Environ(), "GOBIN="+cache, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building containerd: %w: %s", err, out)
	}
	return nil
}

// build compiles the command pkg of the module in dir into the file out.
func build(dir, out, pkg string, flags ...string) error {
	args := append([]string{"build", "-buildvcs=false", "-trimpath", "-o", out}, flags...)
	cmd := exec.CommandContext(context.Background(), "go", append(args, pkg)...) //nolint:gosec // a package of this checkout
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w: %s", filepath.Base(out), err, said)
	}
	return nil
}

// buildChanged compiles the daemon into the file out as if some files of the checkout had
// other texts: those of the files that replace gives for them.
func buildChanged(root, out string, replace map[string]string) error {
	text, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	overlay := out + "-overlay.json"
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		return err
	}
	return build(root, out, "./cmd/shoal", "-overlay", overlay)
}
