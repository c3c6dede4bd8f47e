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

// registryMost is the most that the registry may send, as a share of what clients get, while secrets are
// replaced. Each image goes to three nodes, and one of them has to read it: a third. Two thirds would be one
// more node that gets nothing from the others, as if it stood outside.
const registryMost = 2. / 3

// checkThroughShoal fails unless all that the nodes pull meanwhile comes through Shoal, and the registry sends
// less than registryMost of it: containerd goes on with the registry where a pull of Shoal's fails, and nobody
// would see it.
func checkThroughShoal(t *testing.T, lab *Lab, nodes []*Node, pull func()) {
	t.Helper()
	before := make([]int64, len(nodes))
	for i, n := range nodes {
		before[i] = n.Daemon().MustStatus().Traffic.ToClients
	}
	past, read := len(lab.Registry.Requests(Blobs, byContainerd)), lab.Registry.Bytes(Blobs)
	pull()
	read = lab.Registry.Bytes(Blobs) - read
	var got int64
	for i, n := range nodes {
		toClients := n.Daemon().MustStatus().Traffic.ToClients - before[i]
		if got += toClients; toClients <= 0 {
			t.Errorf("with %v Shoal gave the containerd of %s nothing", n.secrets, n.Name)
		}
	}
	share := float64(read) / float64(got)
	t.Logf("the registry sent %.2f of what clients got", share)
	if share >= registryMost {
		t.Errorf("with %v the registry sent %.2f of what clients got, want less than %.2f", nodes[0].secrets, share, registryMost)
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
