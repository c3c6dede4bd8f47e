package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/shoal-project/shoal/test/e2e"
	"github.com/shoal-project/shoal/test/e2e/scope"
)

// A trial is one round of one scenario. It belongs to the goroutine that runs the
// scenario; what fails ends that.
type trial struct {
	*scope.Scope
	opts     options
	lab      *e2e.Lab
	nodes    []*e2e.Node
	progress *progress
	timeline *timeline
	result   *result
	profile  string // how the names of CPU profiles begin; empty for none

	daemons map[*e2e.Node]usage // that run, and what they had used when the timed part began
	killed  usage               // of all daemons that were killed in the timed part
	pulls   []*pull             // begun and not yet waited for
	images  int
}

// A pull is one PullImage under way.
type pull struct {
	node  *e2e.Node
	ended chan struct{} // closed at the end; the rest is valid then
	took  time.Duration
	err   error
}

// step says what happens now.
func (t *trial) step(format string, args ...any) {
	t.progress.step(format, args...)
	t.Logf("%s", fmt.Sprintf(format, args...))
}

// addNodes makes nodes, and lets each containerd pull a trifle, so that it has set up what
// it sets up once. Then it gives them and the registry their links.
func (t *trial) addNodes(count int, mirror e2e.Mirror) {
	t.step("starting the registry and %s", counted(count, "containerd"))
	trifle := t.lab.Registry.PushPlain("trifle", 1<<10)
	rate := t.opts.rate.String()
	t.lab.Registry.Shape(t.opts.registryRate.String())
	for range count {
		n := t.lab.AddNode(e2e.NoMirror)
		n.MustPull(trifle.Tagged)
		n.SetMirror(mirror)
		n.Shape(rate, rate)
		t.nodes = append(t.nodes, n)
	}
}

// startDaemons starts a daemon on every node and waits until all know each other.
func (t *trial) startDaemons() {
	t.step("starting %s and letting them meet", counted(len(t.nodes), "daemon"))
	for _, n := range t.nodes {
		n.StartShoal()
		t.daemons[n] = usage{}
	}
	e2e.AwaitMembers(t.nodes...)
}

// push makes an image with layers of the given bytes that nobody has seen.
func (t *trial) push(sizes ...int64) e2e.Image {
	t.images++
	return t.lab.Registry.PushPlain(fmt.Sprintf("%s-%d", t.result.Scenario, t.images), sizes...)
}

// swarm makes all nodes with daemons that have nothing, and pushes an image.
func (t *trial) swarm(sizes ...int64) e2e.Image {
	t.addNodes(t.opts.nodes, e2e.WithFallback)
	t.startDaemons()
	t.step("pushing the image")
	return t.push(sizes...)
}

// seed pulls outside the timed part, until the node's daemon has proven all it has.
func (t *trial) seed(image e2e.Image, n *e2e.Node) {
	if _, err := n.PullImage(t.Context(), image.Tagged, nil); err != nil {
		t.Fatalf("%s: %v", n.Name, err)
	}
	t.await(n.Name+" to be a seeder", func() bool { return len(n.Daemon().MustStatus().Downloads) == 0 })
}

// begin begins a pull on each node.
func (t *trial) begin(image e2e.Image, nodes ...*e2e.Node) {
	for _, n := range nodes {
		p := &pull{node: n, ended: make(chan struct{})}
		t.pulls = append(t.pulls, p)
		t.Cleanup(func() { <-p.ended })
		go func() {
			defer close(p.ended)
			p.took, p.err = n.PullImage(t.Context(), image.Tagged, nil)
		}()
	}
}

// wait waits for all pulls that were begun and notes what they took.
func (t *trial) wait() {
	var failed []string
	for _, p := range t.pulls {
		<-p.ended
		if p.err != nil {
			failed = append(failed, fmt.Sprintf("%s: %v", p.node.Name, p.err))
		}
		t.result.Seconds = append(t.result.Seconds, p.took.Seconds())
	}
	t.pulls = nil
	if len(failed) > 0 {
		t.Fatal(strings.Join(failed, "; "))
	}
}

// pull pulls on all of the nodes at once.
func (t *trial) pull(image e2e.Image, nodes ...*e2e.Node) {
	t.begin(image, nodes...)
	t.wait()
}

// compare pulls new images on the first node, in turn directly and, in the timed part,
// through its daemon.
func (t *trial) compare(times int, sizes ...int64) {
	n := t.nodes[:1]
	for range times {
		image := t.push(sizes...)
		t.step("pulling without Shoal, for comparison")
		n[0].SetMirror(e2e.NoMirror)
		took, err := n[0].PullImage(t.Context(), image.Tagged, nil)
		if err != nil {
			t.Fatalf("without Shoal: %v", err)
		}
		t.result.DirectSeconds = append(t.result.DirectSeconds, took.Seconds())
		n[0].SetMirror(e2e.WithFallback)
		image = t.push(sizes...)
		t.timed(image, n, func() { t.pull(image, n...) })
	}
}

// kill ends a node's daemon with SIGKILL, in the middle of its pull.
func (t *trial) kill(n *e2e.Node) {
	for _, p := range t.pulls {
		select {
		case <-p.ended:
			if p.node == n {
				t.Fatalf("%s was done before its daemon could be killed", n.Name)
			}
		default:
		}
	}
	t.killed = t.killed.plus(t.used(n).minus(t.daemons[n]))
	n.Daemon().Kill()
	delete(t.daemons, n)
	t.step("the daemon of %s is killed", n.Name)
}

// await polls until a condition holds.
func (t *trial) await(what string, holds func() bool) {
	t.Logf("waiting for %s", what)
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for !holds() {
		select {
		case <-poll.C:
		case <-t.Context().Done():
			t.Fatalf("waiting for %s", what)
		}
	}
}

// pass lets time pass.
func (t *trial) pass(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

func (t *trial) traffic() []e2e.Traffic {
	all, err := t.lab.Traffic()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// counted is "1 node", "2 nodes".
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
