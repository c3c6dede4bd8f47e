package clients

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shoal-project/shoal/test/e2e"
)

// The releases of containerd that are still in use pull through Shoal, and what they had pulled
// without it is offered to others. 2.4 is what all other tests run.
func TestContainerdReleases(t *testing.T) {
	for _, version := range []string{"1.7.35", "2.0.14"} {
		t.Run(version, func(t *testing.T) {
			site := newSite(t)
			site.Tools.Containerd = tool(t, "containerd-v"+version)
			site.OldContainerd = strings.HasPrefix(version, "1.")
			lab := site.NewLab(t)
			image, earlier := lab.Registry.Push("team/app", 12*e2e.MiB, e2e.MiB), lab.Registry.Push("team/earlier", e2e.MiB)
			before, through, other := lab.AddNode(e2e.NoMirror), lab.AddNode(e2e.MirrorOnly), lab.AddNode(e2e.NoMirror)
			before.MustPull(earlier.Tagged)
			before.StartShoal(before.BesideContainerd("0")...)
			before.MustPull(image.Tagged)                              // by itself, under the eyes of the daemon
			awaitOffered(t, before, blobsOf(earlier)+blobsOf(image)-1) // they share their lowest layer
			through.StartShoal()
			other.StartShoal()
			e2e.AwaitMembers(before, through, other)
			around := other.Hosts()
			installMirror(t, other, version)
			for _, n := range []*e2e.Node{through, other} {
				n.MustPull(image.Tagged)
				n.Check(image.Tagged, image)
				wantLittle(t, lab, image, n)
			}
			pullWithout(t, lab, other, version)
			if code, said := other.ShoalContainerd("uninstall"); code != 0 || other.Hosts() != around {
				t.Errorf("uninstall: exit code %d, %s; it leaves\n%s", code, said, other.Hosts())
			}
			before.RemoveImage(image.Tagged)
			awaitOffered(t, before, blobsOf(earlier))
		})
	}
}

// blobsOf is how many blobs containerd keeps of an image: index, manifest, config, layers.
func blobsOf(image e2e.Image) int { return 3 + len(image.Layers) }

// awaitOffered waits until the node's daemon offers so many blobs of containerd's, all proven.
func awaitOffered(t *testing.T, n *e2e.Node, blobs int) {
	t.Helper()
	e2e.Eventually(t, 2*time.Minute, fmt.Sprintf("%d blobs of containerd's to be offered", blobs), func() error {
		s, err := n.Daemon().Status()
		if err == nil && (s.Containerd.Blobs != blobs || s.Containerd.Waiting > 0) {
			err = fmt.Errorf("%+v", s.Containerd)
		}
		return err
	})
}

// installMirror puts Shoal in front of the registry as an operator does, whose check has proved
// it by a pull.
func installMirror(t *testing.T, n *e2e.Node, version string) {
	t.Helper()
	if code, said := n.ShoalContainerd("check", "--containerd-version", version); code != 4 {
		t.Errorf("check before install: exit code %d, %s", code, said)
	}
	if code, said := n.ShoalContainerd("install", "--containerd-version", version); code != 0 {
		t.Fatalf("install: exit code %d, %s", code, said)
	}
	if code, said := n.ShoalContainerd("check", "--containerd-version", version); code != 0 {
		t.Errorf("check: exit code %d, %s", code, said)
	}
	if code, said := n.ShoalContainerd("check", "--containerd-version", version, "--probe"); code != 0 || !strings.Contains(said, "as a pull has proved") {
		t.Errorf("check --probe: exit code %d, %s", code, said)
	}
}

// pullWithout fails unless containerd goes to the registry by itself once the node's daemon has
// stopped, and not before.
func pullWithout(t *testing.T, lab *e2e.Lab, n *e2e.Node, version string) {
	t.Helper()
	byContainerd := func(r e2e.Request) bool { return strings.HasPrefix(r.Agent, "containerd/") }
	if direct := lab.Registry.Requests(e2e.From(n.Address), byContainerd); len(direct) != 0 {
		t.Errorf("containerd went around the daemon: %+v", direct)
	}
	later := lab.Registry.Push("team/later", 2*e2e.MiB)
	if err := n.Daemon().Stop(); err != nil {
		t.Fatal(err)
	}
	if code, said := n.ShoalContainerd("check", "--containerd-version", version); code != 3 {
		t.Errorf("check without the daemon: exit code %d, %s", code, said)
	}
	n.MustPull(later.Tagged)
	n.Check(later.Tagged, later)
	own := later.Layers[1] // the lowest one is that of all images
	if sent := lab.Registry.Bytes(e2e.From(n.Address), e2e.Named(own.Digest), byContainerd); sent < own.Size {
		t.Errorf("without the daemon containerd read %d bytes of a layer of %d", sent, own.Size)
	}
}
