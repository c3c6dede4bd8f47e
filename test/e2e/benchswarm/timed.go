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

// timed calls do, in which the image is pulled, and adds what that cost to the result. Of
// the given nodes it is shown how far they are. A scenario may have several timed parts.
func (t *trial) timed(image e2e.Image, nodes []*e2e.Node, do func()) {
	t.result.timedParts++
	for n := range t.daemons {
		t.daemons[n] = t.used(n)
	}
	t.killed = usage{}
	t.lab.Registry.Forget()
	t.profiling((*e2e.Daemon).BeginProfile)
	samples := t.watched(image, nodes, do)
	sum := t.killed
	for n, before := range t.daemons {
		sum = sum.plus(t.used(n).minus(before))
	}
	t.profiling(func(d *e2e.Daemon) { d.EndProfile(t.profile, t.result.timedParts) })
	r := t.result
	r.Nodes = len(nodes)
	r.ImageBytes = image.Size()
	r.ArrivedSeconds = arrived(samples, nodes).Seconds()
	r.EgressBlobBytes += t.lab.Registry.Bytes(e2e.Blobs)
	r.EgressBytes += t.lab.Registry.Bytes()
	r.ClientBytes += sum.clients
	r.CPUSeconds += sum.cpu.Seconds()
	r.PeakBytes = max(r.PeakBytes, sum.peak)
}

// profiling does something with each daemon, if profiles are wanted.
func (t *trial) profiling(do func(*e2e.Daemon)) {
	if t.profile == "" {
		return
	}
	for n := range t.daemons {
		do(n.Daemon())
	}
}
