package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/shoal-project/shoal/test/e2e/liar"
)

// ingestTries is how often a pull may be over before containerd could be killed at one tenth of a layer while it
// held some of it. It holds some once the node itself has read the layer's beginning.
const ingestTries = 5

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
	for tenth := range int64(10) {
		for try, ingested := 0, 0; ingested == 0; try++ {
			if try == ingestTries {
				t.Fatalf("at %d tenths containerd never held a byte when it was killed: nothing was tested there", tenth)
			}
			image := lab.Registry.PushPlain(fmt.Sprintf("tenths-%d-try-%d", tenth, try), 10*MiB)
			ingested = killInMidPull(t, lab, hostile, node, image, tenth)
		}
	}
	lied := false
	for _, told := range hostile.Daemon().StopHostile() { // to the node: nobody else is there
		lied = mode.Lies(told) > 0 && told.Chunks > 0
		t.Logf("the liar told %+v", told)
	}
	if !lied {
		t.Error("the liar told the node no lie, or sent it no chunk: nothing was tested")
	}
}

// killInMidPull kills the node's containerd when the node has so many tenths of the image's layer, and pulls
// again. It returns how many bytes of the layer containerd had.
func killInMidPull(t *testing.T, lab *Lab, hostile, node *Node, image Image, tenth int64) int {
	t.Helper()
	layer := image.Layers[0]
	hostile.MustPull(image.Tagged)
	node.StartShoal() // anew: the last one has the liar in quarantine
	AwaitMembers(hostile, node)
	pull := node.BeginPull(image.Tagged)
	have := awaitIngest(t, node, pull, layer, tenth)
	node.KillContainerd()
	_ = pull.Wait() // it may have been over before
	ingested := rightIngest(t, lab, node, layer)
	t.Logf("at %d tenths, the node having %d of %d bytes, containerd had %d", tenth, have, layer.Size, ingested)
	node.StartContainerd()
	node.MustPull(image.Tagged)
	node.CheckDigests(image.Tagged, image)
	if err := node.Daemon().Stop(); err != nil {
		t.Errorf("the end of the daemon of %s: %v", node.Name, err)
	}
	return ingested
}

// awaitIngest waits until the node has so many tenths of the layer and its containerd some of it, or the pull is
// over. It returns how much the node has.
func awaitIngest(t *testing.T, node *Node, pull *PullUnderWay, layer Layer, tenth int64) (have int64) {
	t.Helper()
	Eventually(t, patience, fmt.Sprintf("%d tenths of the layer", tenth), func() error {
		status, err := node.Daemon().Status()
		if err != nil || pull.Ended() {
			return err
		}
		kept, err := node.Ingested(layer)
		if err != nil {
			return err
		}
		have = status.Have(layer.Digest)
		// Not earlier: a containerd that is killed while it prepares the layer's snapshot may leave a folder
		// behind that fails its own next pull.
		return errors.Join(atLeast(have, max(layer.Size/20, layer.Size*tenth/10)), atLeast(int64(len(kept)), 1))
	})
	return have
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
