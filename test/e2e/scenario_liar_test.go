package e2e

import (
	"fmt"
	"slices"
	"testing"

	"github.com/shoal-project/shoal/test/e2e/liar"
)

// A peer lies: every pull gets the right bytes all the same (P1, P2), and "shoal status"
// and the metrics name the liar, and nobody else. Command hostile has all the modes.
func TestLiar(t *testing.T) {
	for _, name := range []string{"wrong-bytes", "false-chain-fitting", "wrong-link", "repeat", "malformed"} {
		t.Run(name, func(t *testing.T) { checkLiar(t, name) })
	}
}

func checkLiar(t *testing.T, name string) {
	t.Helper()
	mode, err := liar.Find(name)
	if err != nil {
		t.Fatal(err)
	}
	lab := NewLab(t)
	image := lab.Registry.Push("app", 20*MiB, 3*MiB)
	hostile, second, third := lab.AddNode(MirrorOnly), lab.AddNode(MirrorOnly), lab.AddNode(MirrorOnly)
	hostile.StartHostile(mode)
	second.StartShoal()
	third.StartShoal()
	AwaitMembers(hostile, second, third)
	peer := hostile.Daemon().MustStatus().PeerID
	hostile.MustPull(image.Tagged)

	// The second node finds nobody but the liar; the third has a choice.
	for _, node := range []*Node{second, third} {
		node.MustPull(image.Tagged)
		node.Check(image.Tagged, image)
		accused := node.Daemon().MustStatus().Accused()
		if slices.ContainsFunc(accused, func(p string) bool { return p != peer }) {
			t.Errorf("%s accuses %q, the liar is %s", node.Name, accused, peer)
		}
		if node == second {
			wantQuarantined(t, node, peer)
		}
	}
	if hostile.Daemon().StopHostile() == 0 {
		t.Error("the liar told no lie: nothing was tested")
	}
}

// wantQuarantined waits until the node's status and metrics say that the peer is refused:
// what convicts it may come after the last byte.
func wantQuarantined(t *testing.T, n *Node, peer string) {
	t.Helper()
	Eventually(t, patience, n.Name+" to quarantine the liar", func() error {
		status, err := n.Daemon().Status()
		if err != nil {
			return err
		}
		count, err := n.Daemon().Quarantines()
		if err != nil {
			return err
		}
		if !slices.Contains(status.Accused(), peer) || count == 0 {
			return fmt.Errorf("it accuses %q, %d in its metrics; the liar is %s", status.Accused(), count, peer)
		}
		return nil
	})
}
