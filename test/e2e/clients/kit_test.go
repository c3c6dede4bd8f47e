package clients

import (
	"errors"
	"flag"
	"fmt"
	"os"
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

// ifCached is for whoever would rather go without these tests than wait for the tools.
var ifCached = flag.Bool("if-cached", false, "do nothing, and say so, unless the tools are built already")

func inSandbox(m *testing.M) int {
	flag.Parse()
	if missing := missingTools(); *ifCached && len(missing) > 0 {
		fmt.Fprintf(os.Stderr, "SKIPPED e2e/clients: %s lacks %s (make e2e-clients builds them)\n", toolsFolder(), strings.Join(missing, ", "))
		return 0
	}
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
