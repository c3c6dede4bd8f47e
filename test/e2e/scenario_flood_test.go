package e2e

import (
	"testing"
	"time"
)

// What p2p/limits.go grants one address: so many connections at once, and so many more each second.
const (
	addressBurst = 512
	addressRate  = 64
)

// While an outsider opens connections to a node as fast as it can, a new member joins that node and
// pulls from it in about the time that it takes without. Of the flood the node works for what one address
// may have, and drops the rest unread.
func TestConnectionFlood(t *testing.T) {
	lab := NewLab(t)
	image := lab.Registry.Push("app", 20*MiB, 3*MiB)
	seeder, before, during := lab.AddNode(MirrorOnly), lab.AddNode(MirrorOnly), lab.AddNode(MirrorOnly)
	seeder.StartShoal()
	seeder.MustPull(image.Tagged)
	quiet := joinAndPull(seeder, before, image)
	before.Daemon().Kill()

	flood := seeder.BeginFlood()
	began := time.Now()
	Eventually(t, patience, "the flood to be over its burst", func() error {
		return atLeast(flood.Opened.Load(), 2*addressBurst)
	})
	flooded := joinAndPull(seeder, during, image)
	flood.End()
	lasted := time.Since(began)
	wantRead(t, lab, image, 0, 0.05, during)

	welcomed, most := flood.Welcomed.Load(), addressBurst+addressRate*(int64(lasted.Seconds())+1)
	t.Logf("join and pull took %v, and %v during the flood of %d connections in %v, of which %d were heard",
		quiet.Round(time.Millisecond), flooded.Round(time.Millisecond), flood.Opened.Load(), lasted.Round(time.Millisecond), welcomed)
	if welcomed > most {
		t.Errorf("the node worked for %d connections of one address in %v, want at most %d", welcomed, lasted, most)
	}
	if welcomed == 0 {
		t.Error("no connection was heard: nothing was tested")
	}
	if limit := 3*quiet + time.Second; flooded > limit {
		t.Errorf("join and pull took %v, and %v without the flood", flooded, quiet)
	}
}

// joinAndPull starts a node's daemon, waits until it and the seeder know each other, and pulls.
func joinAndPull(seeder, n *Node, image Image) time.Duration {
	n.lab.t.Helper()
	began := time.Now()
	startAll(n)
	AwaitMembers(seeder, n)
	n.MustPull(image.Tagged)
	n.Check(image.Tagged, image)
	return time.Since(began)
}
