package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/pkg/namespaces"
)

// fullSpeed is a rate of --containerd-rate that bounds nothing.
const fullSpeed = "0"

// offers waits until the daemon offers so many blobs of containerd's, and all are proven.
func (d *Daemon) offers(blobs int) {
	d.t.Helper()
	Eventually(d.t, 2*patience, fmt.Sprintf("%s to offer %d blobs of containerd's", d.Name, blobs), func() error {
		s, err := d.Status()
		if err == nil && (s.Containerd.Blobs != blobs || s.Containerd.Waiting != 0 || !s.Containerd.Followed) {
			err = fmt.Errorf("it offers %+v", s.Containerd)
		}
		return err
	})
}

// blobsOf is how many blobs containerd keeps of an image: index, manifest, config, layers.
func blobsOf(image Image) int { return 3 + len(image.Layers) }

// What containerd had pulled before Shoal came goes to the other nodes, and the registry
// sends none of it again. A restart of either daemon changes nothing.
func TestContainerdsContentIsOffered(t *testing.T) {
	lab := NewLab(t)
	image := lab.Registry.Push("app", 20*MiB, 3*MiB)
	first, second, third := lab.AddNode(NoMirror), lab.AddNode(MirrorOnly), lab.AddNode(MirrorOnly)
	first.MustPull(image.Tagged)
	before := lab.Registry.Bytes(Blobs)

	first.StartShoal(first.BesideContainerd(fullSpeed)...)
	first.Daemon().offers(blobsOf(image))
	second.StartShoal()
	AwaitMembers(first, second)
	second.MustPull(image.Tagged)
	second.Check(image.Tagged, image)
	wantRead(t, lab, image, 0, 0.05, second)
	t.Logf("the registry sent %d bytes for a pull of %d", lab.Registry.Bytes(Blobs)-before, image.Size())

	// containerd comes back with one image more, which it pulled by itself.
	first.RestartContainerd()
	later := lab.Registry.Push("later", 10*MiB)
	first.MustPull(later.Tagged)
	shared := 1 // the lowest layer
	first.Daemon().offers(blobsOf(image) + blobsOf(later) - shared)

	// At this rate nothing is hashed: the proofs were kept.
	if err := first.Daemon().Stop(); err != nil {
		t.Fatal(err)
	}
	first.StartShoal(first.BesideContainerd("1B")...)
	first.Daemon().offers(blobsOf(image) + blobsOf(later) - shared)
	third.StartShoal()
	AwaitMembers(first, third)
	third.MustPull(later.Tagged)
	third.Check(later.Tagged, later)
	wantRead(t, lab, later, 0, 0.05, third)
}

// What containerd removes is withdrawn, by the kubelet's way and by ctr's, and a layer that is
// being sent then is sent to its end.
func TestContainerdRemovesWhatIsServed(t *testing.T) {
	lab := NewLab(t)
	image, other := lab.Registry.Push("app", 24*MiB), lab.Registry.Push("other", MiB)
	first, second := lab.AddNode(NoMirror), lab.AddNode(MirrorOnly)
	first.MustPull(image.Tagged)
	first.MustPull(other.Tagged)
	const shared = 1
	first.StartShoal(first.BesideContainerd(fullSpeed)...)
	first.Daemon().offers(blobsOf(image) + blobsOf(other) - shared)
	second.StartShoal()
	AwaitMembers(first, second)

	first.Shape("40mbit", "")
	layer := image.Layers[1]
	pull := second.BeginPull(image.Tagged)
	Eventually(t, patience, "6 MiB to arrive", func() error {
		return atLeast(second.Daemon().MustStatus().Have(layer.Digest), 6*MiB)
	})
	first.RemoveImage(image.Tagged)
	name := filepath.Join(first.contentFolder(), "blobs", "sha256", strings.TrimPrefix(layer.Digest, "sha256:"))
	if _, err := os.Stat(name); !os.IsNotExist(err) {
		t.Fatalf("containerd still has the layer: %v", err)
	}
	first.Daemon().offers(blobsOf(other))
	if pull.Ended() {
		t.Error("the pull was over before the layer was removed")
	}
	if err := pull.Wait(); err != nil {
		t.Fatal(err)
	}
	second.Check(image.Tagged, image)
	wantRead(t, lab, image, 0, 0.05, second)

	first.deleteImages()
	first.Daemon().offers(0)
}

// deleteImages has containerd forget all images and collect what is left of them, as
// "ctr images rm --sync" does.
func (n *Node) deleteImages() {
	t := n.lab.t
	t.Helper()
	ctx := namespaces.WithNamespace(t.Context(), criNamespace)
	service := n.containerd.client.ImageService()
	all, err := service.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, image := range all {
		if err := service.Delete(ctx, image.Name, images.SynchronousDelete()); err != nil {
			t.Fatalf("deleting %s: %v", image.Name, err)
		}
	}
}

// Private content that only containerd has is for those clients that the registry lets in, as
// what the store has.
func TestContainerdsPrivateContent(t *testing.T) {
	owner, stranger, _ := testUsers()
	lab := NewPrivateLab(t, owner, stranger)
	image := lab.Registry.Push("private/app", 12*MiB)
	first, second := lab.AddNode(NoMirror), lab.AddNode(MirrorOnly)
	if err := first.Pull(image.Tagged, &owner); err != nil {
		t.Fatal(err)
	}
	first.StartShoal(first.BesideContainerd(fullSpeed)...)
	first.Daemon().offers(blobsOf(image))
	second.StartShoal()
	AwaitMembers(first, second)
	if err := second.Pull(image.Tagged, &stranger); err == nil {
		t.Error("a stranger pulled it through the second node")
	}
	refuseUnasked(t, first, image)
	if status, _ := first.Ask("/v2/private/app/blobs/"+image.Layers[1].Digest, ""); status != http.StatusUnauthorized {
		t.Errorf("without a token: status %d", status)
	}
	if err := second.Pull(image.Tagged, &owner); err != nil {
		t.Fatal(err)
	}
	second.Check(image.Tagged, image)
	wantRead(t, lab, image, 0, 0.05, second)
}
