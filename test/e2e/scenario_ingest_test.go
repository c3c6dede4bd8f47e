package e2e

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/shoal-project/shoal/test/e2e/liar"
)

// containerd is killed at every tenth of a layer while a liar is there. What it has of the
// layer then stays, and the next pull goes on from it: so it must be right, or no pull of
// that layer would ever succeed again (docs/containerd-facts.md, section 3).
func TestPoisonedIngests(t *testing.T) {
	for _, name := range []string{"wrong-bytes", "false-chain-fitting"} {
		t.Run(name, func(t *testing.T) { checkIngests(t, name) })
	}
}

func checkIngests(t *testing.T, name string) {
	t.Helper()
	mode, err := liar.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	lab := NewLab(t)
	hostile, node := lab.AddNode(MirrorOnly), lab.AddNode(MirrorOnly)
	hostile.StartHostile(mode)
	// Slow enough that one tenth can be told from the next.
	hostile.Shape("20mbit", "")
	lab.Registry.Shape("30mbit")
	// Where the liar sends the first chunk containerd has nothing until the end: chance picks who does.
	ingests, try := 0, 0
	for ; try < 10 || ingests < 4 && try < 30; try++ {
		if killInMidPull(t, lab, hostile, node, try) > 0 {
			ingests++
		}
	}
	if ingests < 4 {
		t.Errorf("containerd had something of %d layers of %d when it was killed: too little was tested", ingests, try)
	}
	if len(hostile.Daemon().StopHostile()) == 0 {
		t.Error("the liar told no lie: nothing was tested")
	}
}

// killInMidPull kills the node's containerd when the node has as many tenths of a layer as the try's last
// digit says, and pulls again. It returns how many bytes of the layer containerd had.
func killInMidPull(t *testing.T, lab *Lab, hostile, node *Node, try int) int {
	t.Helper()
	tenth := int64(try % 10)
	image := lab.Registry.PushPlain(fmt.Sprintf("try-%d", try), 10*MiB)
	layer := image.Layers[0]
	node.StartShoal() // anew: the last one has the liar in quarantine
	AwaitMembers(hostile, node)
	began := hostile.BeginPull(image.Tagged)
	pull := node.BeginPull(image.Tagged)
	Eventually(t, patience, fmt.Sprintf("%d tenths of the layer", tenth), func() error {
		status, err := node.Daemon().Status()
		if err != nil {
			return err
		}
		// Not earlier: a containerd that is killed while it prepares the layer's snapshot may leave a folder
		// behind that fails its own next pull.
		return atLeast(status.Have(layer.Digest), max(layer.Size/20, layer.Size*tenth/10))
	})
	node.KillContainerd()
	if pull.Wait() == nil {
		t.Fatalf("at %d tenths the pull was over before containerd could be killed", tenth)
	}
	ingested := rightIngest(t, lab, node, layer)
	t.Logf("at %d tenths containerd had %d of %d bytes", tenth, ingested, layer.Size)
	node.StartContainerd()
	node.MustPull(image.Tagged)
	node.CheckDigests(image.Tagged, image)
	_ = began.Wait() // whether a liar gets its image is its own business
	if err := node.Daemon().Stop(); err != nil {
		t.Errorf("the end of the daemon of %s: %v", node.Name, err)
	}
	return ingested
}

// rightIngest fails unless what the node's containerd keeps of the layer is how the layer begins. It
// returns how many bytes that are.
func rightIngest(t *testing.T, lab *Lab, node *Node, layer Layer) int {
	t.Helper()
	kept, err := node.Ingested(layer)
	if err != nil {
		t.Fatal(err)
	}
	right, err := lab.Registry.Stored(layer)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(right, kept) {
		t.Errorf("containerd keeps %d bytes of layer %s that are not how it begins", len(kept), layer.Digest)
	}
	return len(kept)
}
