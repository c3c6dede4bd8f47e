package e2e

import (
	"slices"
	"testing"
)

// A peer sends wrong bytes: every pull gets the right ones all the same (P1, P2), and
// "shoal status" names the liar, and nobody else.
func TestLiar(t *testing.T) {
	lab := NewLab(t)
	image := lab.Registry.Push("app", 20*MiB, 3*MiB)
	liar, second, third := lab.AddNode(MirrorOnly), lab.AddNode(MirrorOnly), lab.AddNode(MirrorOnly)
	liar.StartLiar()
	second.StartShoal()
	third.StartShoal()
	AwaitMembers(liar, second, third)
	name := liar.Daemon().MustStatus().PeerID
	liar.MustPull(image.Tagged)

	// The second node meets nobody but the liar; the third has a choice.
	for _, node := range []*Node{second, third} {
		node.MustPull(image.Tagged)
		node.Check(image.Tagged, image)
		if accused := node.Daemon().MustStatus().Accused(); slices.ContainsFunc(accused, func(p string) bool { return p != name }) {
			t.Errorf("%s accuses %q, the liar is %s", node.Name, accused, name)
		}
	}
	if sent := liar.Daemon().MustStatus().Traffic.ToPeers; sent == 0 {
		t.Error("the liar was never asked: nothing was tested")
	}
	if accused := second.Daemon().MustStatus().Accused(); !slices.Contains(accused, name) {
		t.Errorf("%s accuses %q, the liar is %s", second.Name, accused, name)
	}
}
