package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/test/fleet"
)

// measurePulls pulls one large layer: cold from the registry, directly and through a
// node, and then from that node to another. It reports times, CPU and memory.
func measurePulls(ctx context.Context, opts options, dir string, reg *fleet.Registry) error {
	img, err := reg.Push(ctx, 1, opts.size)
	if err != nil {
		return err
	}
	nodes, err := fleet.Start(ctx, fleet.Config{
		Binary: opts.shoal, Dir: filepath.Join(dir), Nodes: 2, Upstream: reg.URL,
	})
	if err != nil {
		return err
	}
	defer nodes.Stop()
	if err := nodes.AwaitMembers(ctx); err != nil {
		return err
	}
	direct, err := fleet.PullDirect(ctx, reg.URL, img)
	if err != nil {
		return err
	}
	first, second := nodes.Nodes[0], nodes.Nodes[1]
	idle := usageOf(first)
	cold, err := first.Pull(ctx, img, nil)
	if err != nil {
		return err
	}
	afterCold := usageOf(first)
	warm, err := first.Pull(ctx, img, nil)
	if err != nil {
		return err
	}
	reg.Reset()
	before := usageOf(second)
	swarm, err := second.Pull(ctx, img, nil)
	if err != nil {
		return err
	}
	afterSwarm := usageOf(second)
	sent := reg.Egress().Bytes
	say("\n## One layer of %d MiB, loopback, every byte hashed by the client too\n", opts.size/blob.MiB)
	say("| pull | seconds | MiB/s | of direct |\n| --- | --- | --- | --- |")
	for _, row := range []struct {
		name string
		took time.Duration
	}{
		{"direct from the registry", direct},
		{"through one node, cold", cold},
		{"through the same node, warm", warm},
		{"through a second node, from the first (registry sent " + strconv.FormatInt(sent>>10, 10) + " KiB)", swarm},
	} {
		say("| %s | %.2f | %.0f | %.2f x |", row.name, row.took.Seconds(),
			float64(opts.size)/float64(blob.MiB)/row.took.Seconds(), row.took.Seconds()/direct.Seconds())
	}
	say("\n| daemon | resident MiB | CPU s |\n| --- | --- | --- |")
	say("| idle, one member connected | %.0f | %.2f |", idle.rss, idle.cpu)
	say("| peak of the cold pull | %.0f | %.2f |", afterCold.peak, afterCold.cpu-idle.cpu)
	say("| peak of the pull from a peer | %.0f | %.2f |", afterSwarm.peak, afterSwarm.cpu-before.cpu)
	return nil
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
