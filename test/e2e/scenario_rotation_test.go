package e2e

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

// The swarm's secret is replaced on three nodes, one restart after the other as docs/operations.md has
// it, while all of them pull one image after the other: no pull fails, and the swarm never falls apart (P6).
func TestSecretRotation(t *testing.T) {
	lab := NewLab(t)
	images := make([]Image, 60)
	for i := range images {
		images[i] = lab.Registry.PushPlain(fmt.Sprintf("app-%d", i), 2*MiB)
	}
	nodes := []*Node{lab.AddNode(WithFallback), lab.AddNode(WithFallback), lab.AddNode(WithFallback)}
	older, newer := lab.Secret('a'), lab.Secret('b')
	for _, n := range nodes {
		n.secrets = []string{older}
	}
	startAll(nodes...)
	pulls := pullOn(t, images, nodes...)

	for _, secrets := range [][]string{{newer, older}, {newer}} {
		for _, n := range nodes {
			n.RestartWith(secrets...)
			AwaitMembers(nodes...)
			pulls.more(t, 1)
		}
		checkThroughShoal(t, lab, nodes, func() { pulls.more(t, 2) })
	}
	ended := pulls.end()
	t.Logf("%d pulls went well", ended)
	// Whoever still has the old secret is an outsider now.
	if err := nodes[2].Daemon().Stop(); err != nil {
		t.Errorf("the end of the daemon of %s: %v", nodes[2].Name, err)
	}
	nodes[2].secrets = []string{older}
	nodes[2].StartShoal()
	AwaitMembers(nodes[:2]...)
	if s := nodes[2].Daemon().MustStatus(); s.Members != 0 {
		t.Errorf("with the old secret a node has %d members", s.Members)
	}
}

// checkThroughShoal fails unless all that the nodes pull meanwhile comes through Shoal, and some of it from
// peers: containerd goes on with the registry where a pull of Shoal's fails, and nobody would see it.
func checkThroughShoal(t *testing.T, lab *Lab, nodes []*Node, pull func()) {
	t.Helper()
	toClients := make([]int64, len(nodes))
	var fromPeers int64
	for i, n := range nodes {
		traffic := n.Daemon().MustStatus().Traffic
		toClients[i], fromPeers = traffic.ToClients, fromPeers-traffic.FromPeers
	}
	past := len(lab.Registry.Requests(Blobs, byContainerd))
	pull()
	for i, n := range nodes {
		traffic := n.Daemon().MustStatus().Traffic
		fromPeers += traffic.FromPeers
		if traffic.ToClients <= toClients[i] {
			t.Errorf("with %v Shoal gave the containerd of %s nothing", n.secrets, n.Name)
		}
	}
	if fromPeers <= 0 { // in all: whoever is ahead of the others reads what none of them has
		t.Errorf("with %v nothing came from peers", nodes[0].secrets)
	}
	if around := lab.Registry.Requests(Blobs, byContainerd)[past:]; len(around) > 0 {
		t.Errorf("containerd went around Shoal: %+v", around)
	}
}

// A pullStream pulls image after image on every node until it is ended.
type pullStream struct {
	wg    sync.WaitGroup
	stop  chan struct{}
	done  []atomic.Int64 // pulls that went well, by node
	total int
	once  sync.Once
}

// pullOn begins the stream. A pull that fails fails the test.
func pullOn(t *testing.T, images []Image, nodes ...*Node) *pullStream {
	t.Helper()
	s := &pullStream{stop: make(chan struct{}), done: make([]atomic.Int64, len(nodes)), total: len(images)}
	t.Cleanup(func() { s.end() })
	for i, n := range nodes {
		s.wg.Go(func() {
			for k := range images {
				select {
				case <-s.stop:
					return
				default:
				}
				image := images[(k+i)%len(images)] // not all the same at once
				if err := n.Pull(image.Tagged, nil); err != nil {
					t.Errorf("%s: %v", n.Name, err)
				}
				s.done[i].Add(1)
			}
		})
	}
	return s
}

// more waits until every node has pulled so many images more.
func (s *pullStream) more(t *testing.T, n int64) {
	t.Helper()
	for i := range s.done {
		want := s.done[i].Load() + n
		Eventually(t, patience, "pulls on each node", func() error {
			if got := s.done[i].Load(); got < want {
				return fmt.Errorf("%d of %d, there are %d images", got, want, s.total)
			}
			return nil
		})
	}
}

// end waits for the pulls under way and returns how many there were.
func (s *pullStream) end() int64 {
	s.once.Do(func() { close(s.stop) })
	s.wg.Wait()
	var sum int64
	for i := range s.done {
		sum += s.done[i].Load()
	}
	return sum
}
