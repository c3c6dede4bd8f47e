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
	for _, name := range []string{"wrong-bytes", "wrong-bytes-chained", "false-chain-fitting", "wrong-link", "repeat", "malformed"} {
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
		if node == second {
			wantQuarantined(t, node, peer)
		}
		accused := node.Daemon().MustSentences().All
		if slices.ContainsFunc(accused, func(p string) bool { return p != peer }) {
			t.Errorf("%s accuses %q, the liar is %s", node.Name, accused, peer)
		}
	}
	listener := second.Daemon().MustStatus().PeerID
	if told := hostile.Daemon().StopHostile()[listener]; mode.Lies(told) == 0 {
		t.Errorf("%s was told no lie but %+v: nothing was tested", second.Name, told)
	}
}

// wantQuarantined waits until the node's status and metrics say that the peer is refused:
// what convicts it may come after the last byte.
func wantQuarantined(t *testing.T, n *Node, peer string) {
	t.Helper()
	Eventually(t, patience, n.Name+" to quarantine the liar", func() error {
		sentences, err := n.Daemon().Sentences()
		if err == nil && !slices.Contains(sentences.Refused, peer) {
			err = fmt.Errorf("it accuses %q; the liar is %s", sentences.Refused, peer)
		}
		return err
	})
}
