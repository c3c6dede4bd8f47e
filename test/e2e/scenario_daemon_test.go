package e2e

import (
	"strings"
	"testing"
)

// With the daemon stopped, containerd pulls straight from the registry (P2).
func TestDaemonStopped(t *testing.T) {
	lab := NewLab(t)
	// They share their lowest layer, which containerd reads once.
	before, after := lab.Registry.Push("before", 2*MiB), lab.Registry.Push("after", 2*MiB)
	node := lab.AddNode(WithFallback)
	node.StartShoal()
	node.MustPull(before.Tagged)
	node.Check(before.Tagged, before)
	if direct := lab.Registry.Requests(Blobs, byContainerd); len(direct) != 0 {
		t.Errorf("containerd went around the daemon: %+v", direct)
	}

	if err := node.Daemon().Stop(); err != nil {
		t.Errorf("the daemon's end: %v", err)
	}
	node.MustPull(after.Tagged)
	node.Check(after.Tagged, after)
	own := after.Layers[1]
	if direct := lab.Registry.Bytes(Named(own.Digest), byContainerd); direct < own.Size {
		t.Errorf("containerd itself read %d bytes of a layer of %d", direct, own.Size)
	}
}

func byContainerd(r Request) bool { return strings.HasPrefix(r.Agent, "containerd/") }

// A daemon that is killed in the middle of a download goes on where it was: what it had
// is not read again (P5).
func TestDaemonKilled(t *testing.T) {
	lab := NewLab(t)
	image := lab.Registry.Push("app", 48*MiB)
	layer := image.Layers[1]
	node := lab.AddNode(MirrorOnly)
	node.StartShoal()

	lab.Registry.SetFaults(Faults{Hold: 28 * MiB})
	pull := node.BeginPull(image.Tagged)
	Eventually(t, patience, "20 MiB to arrive", func() error {
		status, err := node.Daemon().Status()
		if err != nil {
			return err
		}
		return atLeast(status.Have(layer.Digest), 20*MiB)
	})
	had := node.Daemon().MustStatus().Have(layer.Digest)
	node.Daemon().Kill()
	if err := pull.Wait(); err == nil {
		t.Fatal("the pull was over before the daemon died")
	}
	lab.Registry.SetFaults(Faults{})
	before := lab.Registry.Bytes(Blobs, Named(layer.Digest))
	node.StartShoal()
	node.MustPull(image.Tagged)
	node.Check(image.Tagged, image)

	t.Logf("%d of %d bytes were there when it was killed", had, layer.Size)
	again := lab.Registry.Bytes(Blobs, Named(layer.Digest)) - before
	if most := layer.Size - had + MiB; again > most {
		t.Errorf("of %d bytes %d were there, and %d were read again; want at most %d", layer.Size, had, again, most)
	}
}
