package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/test/fleet"
)

// measurePulls pulls one large layer: cold from the registry, directly and through a
// node, and then from that node to another. It reports times, CPU and memory.
func measurePulls(ctx context.Context, opts options, dir string, reg *fleet.Registry) error {
	nodes, err := fleet.Start(ctx, fleet.Config{Binary: opts.shoal, Dir: dir, Nodes: 2, Upstream: reg.URL})
	if err != nil {
		return err
	}
	defer nodes.Stop()
	if err := nodes.AwaitMembers(ctx); err != nil {
		return err
	}
	idle := usageOf(nodes.Nodes[0])
	p := pulls{}
	for range opts.pulls {
		if err := p.round(ctx, opts, reg, nodes); err != nil {
			return err
		}
	}
	p.report(opts, idle)
	return nil
}

// pulls are the seconds of each kind of pull, round by round, and what the daemons used.
type pulls struct {
	direct, cold, warm, swarm []float64
	coldCPU, swarmCPU         []float64 // seconds of the pulling daemon
	sent                      int64     // bytes the registry sent to the second node
	coldPeak, swarmPeak       float64   // MiB
}

// round pulls one new image in each way.
func (p *pulls) round(ctx context.Context, opts options, reg *fleet.Registry, nodes *fleet.Fleet) error {
	img, err := reg.Push(ctx, 1, opts.size)
	if err != nil {
		return err
	}
	first, second := nodes.Nodes[0], nodes.Nodes[1]
	took, err := fleet.PullDirect(ctx, reg.URL, first.Dir, img)
	if err != nil {
		return err
	}
	p.direct = append(p.direct, took.Seconds())
	for _, step := range []struct {
		node    *fleet.Node
		seconds *[]float64
		cpu     *[]float64
	}{{first, &p.cold, &p.coldCPU}, {first, &p.warm, nil}, {second, &p.swarm, &p.swarmCPU}} {
		before := usageOf(step.node)
		reg.Reset()
		took, err := step.node.Pull(ctx, img, nil)
		if err != nil {
			return err
		}
		*step.seconds = append(*step.seconds, took.Seconds())
		if err := nodes.Nodes[step.node.Number-1].Await(ctx, "the layer proven", func(s fleet.Seen) bool {
			return s.Proven(img) == len(img.Layers())
		}); err != nil {
			return err
		}
		if step.cpu != nil {
			*step.cpu = append(*step.cpu, usageOf(step.node).cpu-before.cpu)
		}
	}
	p.sent += reg.Egress().Bytes
	p.coldPeak, p.swarmPeak = usageOf(first).peak, usageOf(second).peak
	return nil
}

func (p *pulls) report(opts options, idle usage) {
	mib := float64(opts.size) / float64(blob.MiB)
	direct := quantile(p.direct, 0.5)
	say("\n## One layer of %.0f MiB on loopback, every byte hashed and written by the client too (medians of %d)\n", mib, opts.pulls)
	say("| pull | seconds | MiB/s | of direct | daemon's CPU s |\n| --- | --- | --- | --- | --- |")
	for _, row := range []struct {
		name         string
		seconds, cpu []float64
	}{
		{"direct from the registry", p.direct, nil},
		{"through one node, cold", p.cold, p.coldCPU},
		{"through the same node, warm", p.warm, nil},
		{fmt.Sprintf("through a second node, from the first (the registry sent %d KiB in all)", p.sent>>10), p.swarm, p.swarmCPU},
	} {
		cpu := "-"
		if row.cpu != nil {
			cpu = fmt.Sprintf("%.1f", quantile(row.cpu, 0.5))
		}
		median := quantile(row.seconds, 0.5)
		say("| %s | %.2f | %.0f | %.2f x | %s |", row.name, median, mib/median, median/direct, cpu)
	}
	say("\n| resident memory of a daemon | MiB |\n| --- | --- |")
	say("| idle, one member connected | %.0f |", idle.rss)
	say("| peak, cold pulls from the registry | %.0f |", p.coldPeak)
	say("| peak, pulls from a peer | %.0f |", p.swarmPeak)
}

// A usage is what the kernel says of a process.
type usage struct {
	rss, peak float64 // MiB
	cpu       float64 // seconds, user and system
}

func usageOf(n *fleet.Node) usage {
	u := usage{}
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.PID()))
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kib, _ := strconv.ParseFloat(fields[1], 64)
		switch fields[0] {
		case "VmRSS:":
			u.rss = kib / 1024
		case "VmHWM:":
			u.peak = kib / 1024
		}
	}
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.PID()))
	_, rest, _ := strings.Cut(string(stat), ") ")
	if fields := strings.Fields(rest); len(fields) > 13 {
		user, _ := strconv.ParseFloat(fields[11], 64)
		system, _ := strconv.ParseFloat(fields[12], 64)
		u.cpu = (user + system) / 100 // USER_HZ
	}
	return u
}
