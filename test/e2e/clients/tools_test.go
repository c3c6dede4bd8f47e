package clients

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A module is a tool that is built here, at the version of which docs/clients.md speaks: its
// command, or the program of testdata where it has none.
type module struct{ path, version, command string }

func modules() map[string]module {
	return map[string]module{
		crane:                       {"github.com/google/go-containerregistry", "v0.21.6", "cmd/crane"},
		oras:                        {"oras.land/oras", "v1.3.6", "cmd/oras"},
		"containerd-v1.7.35":        {"github.com/containerd/containerd", "v1.7.35", "cmd/containerd"},
		"containerd-v2.0.14":        {"github.com/containerd/containerd/v2", "v2.0.14", "cmd/containerd"},
		"containerd-stargz-v0.19.1": {"github.com/containerd/stargz-snapshotter", "v0.19.1", ""},
		"containers-image-v5.35.0":  {"github.com/containers/image/v5", "v5.35.0", ""},
		"nerdctl-v1.7.7":            {"github.com/containerd/nerdctl", "v1.7.7", "cmd/nerdctl"},
		docker29:                    {"github.com/moby/moby/v2", "v2.0.0-beta.24", "cmd/dockerd"},
		"buildctl-v0.34.2":          {"github.com/moby/buildkit", "v0.34.2", "cmd/buildctl"},
		"buildkitd-v0.34.2":         {"github.com/moby/buildkit", "v0.34.2", "cmd/buildkitd"},
	}
}

// build makes the tool. It is built as a module that others need: some say in their go.mod what
// "go install" refuses.
func (m module) build(out string) error {
	dir, err := os.MkdirTemp("", "shoal-build-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	text := "module build\n\ngo 1.26\n"
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(text), 0o600); err != nil {
		return err
	}
	pkg := m.path + "/" + m.command
	if m.command == "" {
		pkg = "."
		if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", strings.TrimSuffix(filepath.Base(out), "-"+m.version)))); err != nil {
			return err
		}
	}
	env := []string{"GOFLAGS=-mod=mod -tags=containers_image_openpgp", "CGO_ENABLED=0"} // a library that else wants one of C
	return errors.Join(
		run(env, "go", "-C", dir, "get", m.path+"@"+m.version),
		run(env, "go", "-C", dir, "build", "-trimpath", "-o", out+".part", pkg),
		os.Rename(out+".part", out),
	)
}

// packages are the tools that come with the distribution, under the names of their programs.
func packages() []string { return []string{"podman", "skopeo"} }

// toolsFolder is where the tools are kept: outside the checkout, as they take minutes to build.
func toolsFolder() string {
	home, err := os.UserHomeDir()
	if err != nil {
		home = os.TempDir()
	}
	return filepath.Join(home, ".cache", "shoal-clients")
}

// dockerFolder has the files of Debian's Docker Engine.
const dockerFolder = "docker"

// missingTools are the tools that are not there yet, sorted.
func missingTools() []string {
	var missing []string
	for _, name := range append(slices.Collect(maps.Keys(modules())), dockerFolder) {
		if _, err := os.Stat(filepath.Join(toolsFolder(), name)); err != nil {
			missing = append(missing, name)
		}
	}
	for _, name := range packages() {
		if _, err := exec.LookPath(name); err != nil {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	return missing
}

func prepareTools() error {
	errs := []error{os.MkdirAll(toolsFolder(), 0o750)}
	for _, name := range missingTools() {
		out := filepath.Join(toolsFolder(), name)
		switch {
		case slices.Contains(packages(), name):
			errs = append(errs, install(name))
		case name == dockerFolder:
			errs = append(errs, unpackDocker(out))
		default:
			errs = append(errs, modules()[name].build(out))
		}
	}
	return errors.Join(errs...)
}

func install(debian string) error {
	_ = run(nil, "apt-get", "update", "-qq")
	return run([]string{"DEBIAN_FRONTEND=noninteractive"}, "apt-get", "install", "-y", "-qq", "--no-install-recommends", debian)
}

// unpackDocker gets Docker Engine without installing it, which would start it on this machine.
func unpackDocker(to string) error {
	dir, err := os.MkdirTemp("", "shoal-docker-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	fetch := "cd " + dir + " && apt-get update -qq && apt-get install -y -qq --no-install-recommends libdevmapper1.02.1 &&" +
		" apt-get download -qq docker.io && dpkg-deb -x docker.io_*.deb files && mv files " + to
	return run([]string{"DEBIAN_FRONTEND=noninteractive"}, "sh", "-c", fetch)
}

func run(env []string, argv ...string) error {
	cmd := exec.CommandContext(context.Background(), argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, out)
	}
	return nil
}

// tool is the path of a tool that was built here.
func tool(t *testing.T, name string) string {
	t.Helper()
	return filepath.Join(toolsFolder(), name)
}
