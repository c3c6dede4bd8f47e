package main

import (
	"time"

	"github.com/shoal-project/shoal/test/e2e"
)

// A usage is what daemons have used.
type usage struct {
	cpu     time.Duration
	clients int64 // bytes that went to clients
	peak    int64 // bytes of memory, the most of one daemon
}

func (u usage) plus(v usage) usage {
	return usage{cpu: u.cpu + v.cpu, clients: u.clients + v.clients, peak: max(u.peak, v.peak)}
}

// minus is what was used since before; memory has no since.
func (u usage) minus(before usage) usage {
	return usage{cpu: u.cpu - before.cpu, clients: u.clients - before.clients, peak: u.peak}
}

// used reads what a node's daemon has used since it began.
func (t *trial) used(n *e2e.Node) usage {
	seen, err := n.Daemon().Usage()
	if err != nil {
		t.Fatal(err)
	}
	status, err := n.Daemon().Status()
	if err != nil {
		t.Fatal(err)
	}
	return usage{cpu: seen.CPU, clients: status.Traffic.ToClients, peak: seen.PeakMemory}
}

// timed calls do, in which the given nodes pull the image, and adds what that cost to the
// result. A scenario may have several timed parts.
func (t *trial) timed(image e2e.Image, nodes []*e2e.Node, do func()) {
	for n := range t.daemons {
		t.daemons[n] = t.used(n)
	}
	t.killed = usage{}
	registry := t.lab.Registry
	registry.Forget()
	func() {
		defer t.watch(image, nodes)()
		do()
	}()
	sum := t.killed
	for n, before := range t.daemons {
		sum = sum.plus(t.used(n).minus(before))
	}
	r := t.result
	r.Nodes = len(nodes)
	r.ImageBytes = image.Size()
	r.EgressBlobBytes += registry.Bytes(e2e.Blobs)
	r.EgressBytes += registry.Bytes()
	r.ClientBytes += sum.clients
	r.CPUSeconds += sum.cpu.Seconds()
	r.PeakBytes = max(r.PeakBytes, sum.peak)
	r.timedParts++
}

// watch shows how far the nodes' pulls are, and writes the timeline, until the returned
// function is called.
func (t *trial) watch(image e2e.Image, nodes []*e2e.Node) (stop func()) {
	began, before := time.Now(), t.traffic()
	t.timeline.begin(t.result, before)
	done, ended := make(chan struct{}), make(chan struct{})
	look := func() {
		now, err := t.lab.Traffic()
		if err != nil {
			t.Logf("the timeline has a gap: %v", err)
			return
		}
		t.timeline.add(time.Since(began), now)
		var arrived int64
		for _, n := range nodes {
			arrived += min(now[n.Number].Received-before[n.Number].Received, image.Size())
		}
		share := float64(arrived) / float64(image.Size()*int64(len(nodes)))
		t.progress.update("%s pull %.1f MiB: %3.0f %%, %.1f s", counted(len(nodes), "node"),
			float64(image.Size())/e2e.MiB, 100*share, time.Since(began).Seconds())
	}
	go func() {
		defer close(ended)
		tick := time.NewTicker(samplingPeriod)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				look()
			case <-done:
				look()
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}
