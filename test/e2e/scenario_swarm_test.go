package e2e

import (
	"testing"
	"time"
)

// A node that is alone in the world reads the image from the registry, once (P2).
func TestOneNodeCold(t *testing.T) {
	lab := NewLab(t)
	image := lab.Registry.Push("app", 20*MiB, 3*MiB)
	node := lab.AddNode(MirrorOnly)
	node.StartShoal()
	node.MustPull(image.Tagged)
	node.Check(image.Tagged, image)
	wantRead(t, lab, image, 1, 1.05)
}

// The second and the third node get their layers from peers: the registry sends none.
func TestLayersComeFromPeers(t *testing.T) {
	lab := NewLab(t)
	image := lab.Registry.Push("app", 20*MiB, 3*MiB)
	first, second, third := lab.AddNode(MirrorOnly), lab.AddNode(MirrorOnly), lab.AddNode(MirrorOnly)
	startAll(first, second, third)

	first.MustPull(image.Tagged)
	wantRead(t, lab, image, 1, 1.05)
	others := pullAll(image.Tagged, second, third)
	for _, pull := range others {
		if err := pull.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	wantRead(t, lab, image, 0, 0.05, second, third)
	for _, node := range []*Node{first, second, third} {
		node.Check(image.Tagged, image)
	}
}

// Three cold nodes that pull at the same moment read the image about once in all (P3).
func TestCrowdReadsOnce(t *testing.T) {
	lab := NewLab(t)
	image := lab.Registry.Push("app", 40*MiB, 24*MiB)
	nodes := []*Node{lab.AddNode(MirrorOnly), lab.AddNode(MirrorOnly), lab.AddNode(MirrorOnly)}
	startAll(nodes...)
	for _, pull := range pullAll(image.Tagged, nodes...) {
		if err := pull.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	wantRead(t, lab, image, 1, 1.05)
	for _, node := range nodes {
		node.Check(image.Tagged, image)
	}
}

// A node that comes in the middle leaves the reads that are under way to those who do
// them (P3).
func TestLatecomerReadsLittle(t *testing.T) {
	lab := NewLab(t)
	image := lab.Registry.Push("app", 40*MiB)
	nodes := []*Node{lab.AddNode(MirrorOnly), lab.AddNode(MirrorOnly), lab.AddNode(MirrorOnly)}
	startAll(nodes...)
	for _, node := range nodes {
		node.Shape("", "100mbit")
	}
	pulls := pullAll(image.Tagged, nodes[0], nodes[1])
	Eventually(t, patience, "8 MiB from the registry", func() error {
		return atLeast(lab.Registry.Bytes(Blobs), 8*MiB)
	})
	for _, pull := range append(pulls, nodes[2].BeginPull(image.Tagged)) {
		if err := pull.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	wantRead(t, lab, image, 1, 1.05)
	for _, node := range nodes {
		node.Check(image.Tagged, image)
	}
}

// With the registry gone after the first pull, the others still pull by tag and by digest.
func TestRegistryGone(t *testing.T) {
	lab := NewLab(t)
	image := lab.Registry.Push("app", 12*MiB, 2*MiB)
	first, byTag, byDigest := lab.AddNode(MirrorOnly), lab.AddNode(MirrorOnly), lab.AddNode(WithFallback)
	startAll(first, byTag, byDigest)
	first.MustPull(image.Tagged)

	lab.Registry.Down()
	byTag.MustPull(image.Tagged)
	byDigest.MustPull(image.Pinned)
	byTag.Check(image.Tagged, image)
	byDigest.Check(image.Pinned, image)
}

// All peers die in the middle of a pull: it goes on with the registry, and what the
// peers gave is not read again. The kernel of a killed daemon says goodbye for it; a
// machine that lost its network says nothing.
func TestPeersLost(t *testing.T) {
	t.Run("killed", func(t *testing.T) {
		checkPeersLost(t, func(n *Node) { n.Daemon().Kill() })
	})
	t.Run("unplugged", func(t *testing.T) {
		checkPeersLost(t, func(n *Node) { n.Unplug() })
	})
}

func checkPeersLost(t *testing.T, lose func(*Node)) {
	t.Helper()
	lab := NewLab(t)
	image := lab.Registry.Push("app", 24*MiB)
	first, second, last := lab.AddNode(MirrorOnly), lab.AddNode(MirrorOnly), lab.AddNode(MirrorOnly)
	startAll(first, second, last)
	first.MustPull(image.Tagged)
	second.MustPull(image.Tagged)
	first.Shape("24mbit", "")
	second.Shape("24mbit", "")

	pull := last.BeginPull(image.Tagged)
	Eventually(t, patience, "8 MiB from peers", func() error {
		status, err := last.Daemon().Status()
		if err != nil {
			return err
		}
		return atLeast(status.Traffic.FromPeers, 8*MiB)
	})
	lose(first)
	lose(second)
	if pull.Ended() {
		t.Fatal("the pull was over before the peers were lost")
	}
	if err := pull.Wait(); err != nil {
		t.Fatal(err)
	}
	last.Check(image.Tagged, image)
	wantRead(t, lab, image, 0.05, 0.85, last)
}

// A registry that is slow to answer and breaks off its bodies is one that containerd
// alone pulls from; so does Shoal (P2).
func TestRegistryFalters(t *testing.T) {
	lab := NewLab(t)
	image := lab.Registry.Push("app", 12*MiB)
	node := lab.AddNode(MirrorOnly)
	node.StartShoal()
	lab.Registry.SetFaults(Faults{Latency: 100 * time.Millisecond, Cut: 1*MiB + 12345})
	node.MustPull(image.Tagged)
	node.Check(image.Tagged, image)
	wantRead(t, lab, image, 1, 1.5)
}

// startAll starts the nodes' daemons and waits until they know each other.
func startAll(nodes ...*Node) {
	for _, n := range nodes {
		n.StartShoal()
	}
	AwaitMembers(nodes...)
}

// pullAll begins a pull on every node at once.
func pullAll(ref string, nodes ...*Node) []*PullUnderWay {
	pulls := make([]*PullUnderWay, 0, len(nodes))
	for _, n := range nodes {
		pulls = append(pulls, n.BeginPull(ref))
	}
	return pulls
}

// largeLayer is the size, in bytes, from which on a layer is more than one read of the
// registry. Of a smaller one Shoal may read a copy too many rather than wait for a peer
// that takes long to answer, as on a busy machine; of a larger one it may not.
const largeLayer = 8 * MiB

// wantRead checks what the registry sent of the image's large layers, as a share of
// their size, to the given nodes together or to all that there are.
func wantRead(t *testing.T, lab *Lab, image Image, atLeast, atMost float64, nodes ...*Node) {
	t.Helper()
	var sent, size int64
	for _, layer := range image.Layers {
		if layer.Size <= largeLayer {
			continue
		}
		size += layer.Size
		if len(nodes) == 0 {
			sent += lab.Registry.Bytes(Blobs, Named(layer.Digest))
		}
		for _, n := range nodes {
			sent += lab.Registry.Bytes(Blobs, Named(layer.Digest), From(n.Address))
		}
	}
	share := float64(sent) / float64(size)
	t.Logf("the registry sent %.3f times the large layers", share)
	if share < atLeast || share > atMost {
		t.Errorf("the registry sent %.3f times the large layers, want %.2f to %.2f", share, atLeast, atMost)
	}
}
