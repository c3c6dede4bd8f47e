package clients

import (
	"strings"
	"testing"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/opencontainers/go-digest"

	"github.com/shoal-project/shoal/test/e2e"
)

// stargz-snapshotter mounts an image without its layers, and asks the mirror for ranges of them
// as they are read. What one node has read, the next one gets from it.
func TestStargz(t *testing.T) {
	site := newSite(t)
	site.Tools.Containerd, site.Lazy = tool(t, "containerd-stargz-v0.19.1"), true
	lab := site.NewLab(t)
	image := lazyImage(t, lab)
	first, second := lab.AddNode(e2e.WithFallback), lab.AddNode(e2e.WithFallback)
	first.StartShoal()
	second.StartShoal()
	e2e.AwaitMembers(first, second)
	for _, n := range []*e2e.Node{first, second} {
		n.MustPull(image.Tagged)
		wantNoLayers(t, n, image)
		if sent := sentToClients(t, n); sent > image.Size()/4 {
			t.Errorf("a pull on %s read %d bytes of an image of %d", n.Name, sent, image.Size())
		}
		n.Check(image.Tagged, image) // reads every file
		if sent := sentToClients(t, n); sent < image.Size()*3/4 {
			t.Errorf("all files were read on %s, and only %d bytes of an image of %d", n.Name, sent, image.Size())
		}
		wantNoLayers(t, n, image)
	}
	wantLittle(t, lab, image, second)
	lab.Registry.Forget()
	second.RemoveImage(image.Tagged)
	if err := second.Daemon().Stop(); err != nil {
		t.Fatal(err)
	}
	second.MustPull(image.Tagged)
	second.Check(image.Tagged, image)
	for _, r := range lab.Registry.Requests(e2e.From(second.Address)) {
		if r.Range != "" && !strings.HasPrefix(r.Agent, "shoal/") {
			return // the snapshotter itself asked for a part of a layer
		}
	}
	t.Error("without the daemon the snapshotter did not read from the registry")
}

// sentToClients is the number of bytes that the node's daemon has sent to clients.
func sentToClients(t *testing.T, n *e2e.Node) int64 {
	t.Helper()
	status, err := n.Daemon().Status()
	if err != nil {
		t.Fatal(err)
	}
	return status.Traffic.ToClients
}

// lazyImage pushes an image, and has it converted to one that can be read lazily.
func lazyImage(t *testing.T, lab *e2e.Lab) e2e.Image {
	t.Helper()
	image := lab.Registry.Push("team/app", 12*e2e.MiB, e2e.MiB)
	author := lab.AddNode(e2e.NoMirror)
	image.Tagged = lab.Registry.Host + "/team/lazy:1"
	source := lab.Registry.Host + "/team/app:1"
	for _, argv := range [][]string{
		{"pull", "--quiet", "--unpack=false", source},
		{"image", "convert", "--estargz", "--oci", source, image.Tagged},
		{"push", "--quiet", image.Tagged},
	} {
		nerdctl := []string{tool(t, "nerdctl-v1.7.7"), "--address", author.ContainerdSocket(), "--data-root", t.TempDir(), "--insecure-registry"}
		if _, err := author.Run(nil, append(nerdctl, argv...)...); err != nil {
			t.Fatal(err)
		}
	}
	return measured(t, image)
}

// measured is the image with the digests and the layers that the registry has under its tag.
func measured(t *testing.T, image e2e.Image) e2e.Image {
	t.Helper()
	tag, err := name.ParseReference(image.Tagged, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := remote.Get(tag, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	image.Digest, image.Layers = stored.Digest.String(), nil
	ours, err := stored.Image()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := ours.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, layer := range manifest.Layers {
		image.Layers = append(image.Layers, e2e.Layer{Digest: layer.Digest.String(), Size: layer.Size})
	}
	return image
}

// wantNoLayers fails if the node's containerd has a layer of the image: then it was not lazy.
func wantNoLayers(t *testing.T, n *e2e.Node, image e2e.Image) {
	t.Helper()
	client, err := containerd.New(n.ContainerdSocket(), containerd.WithDefaultNamespace("k8s.io"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	for _, layer := range image.Layers {
		if _, err := client.ContentStore().Info(t.Context(), digest.Digest(layer.Digest)); !errdefs.IsNotFound(err) {
			t.Errorf("%s: layer %s in containerd's store: %v", n.Name, layer.Digest, err)
		}
	}
}
