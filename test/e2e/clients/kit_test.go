package clients

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoal-project/shoal/test/e2e"
)

// checkout is the main module's folder, seen from where go test runs these tests.
const checkout = "../../.."

const skipped = "SKIPPED e2e/clients: needs root"

// mirror is where every node's Shoal listens for clients, and registry the name by which images
// call the lab's registry: one without a port, as a mirror's path takes it.
const (
	mirror   = "127.0.0.1:6050"
	registry = "registry.lab"
)

// TestMain runs the tests in a sandbox where there is root, and lets them skip where there is not.
func TestMain(m *testing.M) {
	os.Exit(inSandbox(m)) //nolint:forbidigo // a test binary's exit code is its result
}

func inSandbox(m *testing.M) int {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, skipped)
		return m.Run()
	}
	prepare := func(dir string) error {
		return errors.Join(e2e.PrepareTools(checkout, dir), prepareTools())
	}
	code, err := e2e.InSandbox(prepare, m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return code
}

// A module is a tool that is built here, at the version of which docs/clients.md speaks: its
// command, or the program of testdata where it has none.
type module struct{ path, version, command string }

func modules() map[string]module {
	return map[string]module{
		"crane":                     {"github.com/google/go-containerregistry", "v0.21.6", "cmd/crane"},
		"oras":                      {"oras.land/oras", "v1.3.6", "cmd/oras"},
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
		run(env, "go", "-C", dir, "build", "-trimpath", "-o", out, pkg),
	)
}

// packages are the tools that come with the distribution, and the Debian packages with them.
func packages() map[string]string {
	return map[string]string{"skopeo": "skopeo", "podman": "podman"}
}

func prepareTools() error {
	bin, err := filepath.Abs(filepath.Join(checkout, "bin", "tools"))
	if err != nil {
		return err
	}
	var errs []error
	for name, module := range modules() {
		out := filepath.Join(bin, name)
		if _, err := os.Stat(out); err == nil {
			continue
		}
		errs = append(errs, module.build(out))
	}
	for name, debian := range packages() {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		_ = run(nil, "apt-get", "update", "-qq")
		errs = append(errs, run([]string{"DEBIAN_FRONTEND=noninteractive"}, "apt-get", "install", "-y", "-qq", "--no-install-recommends", debian))
	}
	return errors.Join(append(errs, unpackDocker(filepath.Join(bin, "docker")))...)
}

// unpackDocker gets Docker Engine without installing it, which would start it on this machine.
func unpackDocker(to string) error {
	if _, err := os.Stat(to); err == nil {
		return nil
	}
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

// A kit is a lab with two nodes whose daemons know the registry by its name.
type kit struct {
	t             *testing.T
	lab           *e2e.Lab
	image         e2e.Image
	ref           string // registry/app:1
	first, second *e2e.Node
	daemons       int // of tools, so far
}

// newSite is where the labs of a test are built. It skips the test where there is no root.
func newSite(t *testing.T) e2e.Site {
	t.Helper()
	sandbox := e2e.SandboxDir()
	switch {
	case sandbox != "":
	case os.Getenv("E2E") == "require": //nolint:forbidigo // a switch for whoever runs the tests
		t.Fatal(skipped)
	default:
		t.Skip(skipped)
	}
	return e2e.Site{
		Dir: sandbox, Logs: filepath.Join(checkout, "bin", "e2e-logs"), Tools: e2e.FindTools(checkout, sandbox),
		ShoalFlags: []string{"--log-level", "debug"},
	}
}

// newKit makes a lab whose daemons know its registry by further names, too.
func newKit(t *testing.T, names ...string) *kit {
	t.Helper()
	site := newSite(t)
	lab := site.NewLab(t)
	k := &kit{
		t: t, lab: lab, image: lab.Registry.Push("team/app", 12*e2e.MiB, e2e.MiB), ref: registry + "/team/app:1",
		first: lab.AddNode(e2e.NoMirror), second: lab.AddNode(e2e.NoMirror),
	}
	flags := make([]string, 0, 2*(len(names)+1))
	for _, name := range append(names, registry) {
		flags = append(flags, "--upstream", name+"="+lab.Registry.URL())
	}
	for _, n := range []*e2e.Node{k.first, k.second} {
		n.StartShoal(flags...)
	}
	e2e.AwaitMembers(k.first, k.second)
	return k
}

// tool is the path of a tool that was built here.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(checkout, "bin", "tools", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// write makes a file of the test's.
func (k *kit) write(name, text string) string {
	k.t.Helper()
	path := filepath.Join(k.t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		k.t.Fatal(err)
	}
	return path
}

// both has pull done on the first node and on the second, and checks who sent what.
func (k *kit) both(pull func(n *e2e.Node) error) {
	k.t.Helper()
	for _, n := range []*e2e.Node{k.first, k.second} {
		if err := pull(n); err != nil {
			k.t.Fatal(err)
		}
	}
	var sent int64
	for _, n := range []*e2e.Node{k.first, k.second} {
		for _, r := range k.lab.Registry.Requests(e2e.From(n.Address)) {
			if !strings.HasPrefix(r.Agent, "shoal/") {
				k.t.Errorf("the tool went around the daemon: %+v", r)
			}
		}
	}
	for _, layer := range k.image.Layers {
		sent += k.lab.Registry.Bytes(e2e.Blobs, e2e.Named(layer.Digest), e2e.From(k.first.Address))
	}
	wantLittle(k.t, k.lab, k.image, k.second)
	if sent < k.image.Size() || sent > k.image.Size()*21/20 {
		k.t.Errorf("the registry sent %d bytes of an image of %d to the first node", sent, k.image.Size())
	}
}

// wantLittle fails unless a node read next to nothing of the image's large layers from the
// registry. A small one it may read rather than wait for a peer that takes long to answer, as on
// a busy machine.
func wantLittle(t *testing.T, lab *e2e.Lab, image e2e.Image, n *e2e.Node) {
	t.Helper()
	for _, layer := range image.Layers {
		sent := lab.Registry.Bytes(e2e.Blobs, e2e.Named(layer.Digest), e2e.From(n.Address))
		if layer.Size > 8*e2e.MiB && sent > layer.Size/20 {
			t.Errorf("the registry sent %d bytes of a layer of %d to %s", sent, layer.Size, n.Name)
		}
	}
}

// without stops the first node's daemon, and has pull done there once more.
func (k *kit) without(pull func(n *e2e.Node) error) {
	k.t.Helper()
	if err := k.first.Daemon().Stop(); err != nil {
		k.t.Fatal(err)
	}
	before := len(k.lab.Registry.Requests(e2e.From(k.first.Address)))
	if err := pull(k.first); err != nil {
		k.t.Errorf("without the daemon: %v", err)
	}
	if after := len(k.lab.Registry.Requests(e2e.From(k.first.Address))); after == before {
		k.t.Error("without the daemon nobody asked the registry")
	}
}
