package e2e

import (
	"slices"
	"testing"
)

// A peer sends wrong bytes, or a wrong chain: every pull gets the right bytes all the
// same (P1, P2), and "shoal status" names the liar, and nobody else.
func TestLiar(t *testing.T) {
	for _, lie := range []Lie{WrongChunks, WrongChain} {
		t.Run(string(lie), func(t *testing.T) { checkLiar(t, lie) })
	}
}

func checkLiar(t *testing.T, lie Lie) {
	t.Helper()
	lab := NewLab(t)
	image := lab.Registry.Push("app", 20*MiB, 3*MiB)
	liar, second, third := lab.AddNode(MirrorOnly), lab.AddNode(MirrorOnly), lab.AddNode(MirrorOnly)
	liar.StartLiar(lie)
	second.StartShoal()
	third.StartShoal()
	AwaitMembers(liar, second, third)
	name := liar.Daemon().MustStatus().PeerID
	liar.MustPull(image.Tagged)

	// The second node finds nobody but the liar; the third has a choice.
	for _, node := range []*Node{second, third} {
		node.MustPull(image.Tagged)
		node.Check(image.Tagged, image)
		accused := node.Daemon().MustStatus().Accused()
		if slices.ContainsFunc(accused, func(p string) bool { return p != name }) {
			t.Errorf("%s accuses %q, the liar is %s", node.Name, accused, name)
		}
		if node == second && !slices.Contains(accused, name) {
			t.Errorf("%s accuses %q, the liar is %s", node.Name, accused, name)
		}
	}
	if sent := liar.Daemon().MustStatus().Traffic.ToPeers; sent == 0 {
		t.Error("the liar was never asked: nothing was tested")
	}
}
