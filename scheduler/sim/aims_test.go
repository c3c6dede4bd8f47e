package sim_test

import (
	"fmt"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler/sim"
)

// TestAims holds the cases that decide to what they come to in crowds that take seconds. Time is
// virtual, so this is the same on every machine; the limits leave a few in a hundred for other
// policies. Where an aim of the case itself is lower, it is for 1 GiB.
func TestAims(t *testing.T) {
	for _, x := range []struct {
		name  string
		nodes int
		size  blob.ByteCount
		most  sim.Aim
	}{
		{"fast-registry", 20, 128 * blob.MiB, sim.Aim{Slowest: 1.30, Egress: 1.02}},
		{"fast-registry", 50, 64 * blob.MiB, sim.Aim{Slowest: 1.30, Egress: 1.02}}, // more nodes than runs
		{"fast-registry", 130, 8 * blob.MiB, sim.Aim{Slowest: 2.80, Egress: 1.02}}, // twice as many nodes as chunks
		{"slow-nodes", 100, 32 * blob.MiB, sim.Aim{Slowest: 2.50, Egress: 1.06}},
		{"equal-registry", 20, 128 * blob.MiB, sim.Aim{Slowest: 1.30, Egress: 1.02}},
		{"arriving", 20, 128 * blob.MiB, sim.Aim{Slowest: 1.45, Egress: 1.03}},
		{"seeded", 20, 128 * blob.MiB, sim.Aim{Slowest: 1.05, Egress: -1}},
	} {
		t.Run(fmt.Sprintf("%s of %d", x.name, x.nodes), func(t *testing.T) {
			cfg := find(t, x.name).Sized(x.size).Config(x.nodes, 1)
			mustKeep(t, cfg, run(t, cfg), x.most)
		})
	}
}

// mustKeep holds a run against limits.
func mustKeep(t *testing.T, cfg sim.Config, res sim.Result, most sim.Aim) {
	t.Helper()
	times := cfg.Times(res, cfg.Counts)
	slowest := secs(times[len(times)-1]) / secs(cfg.Bound())
	t.Logf("slowest %.3f of the bound, egress %.3f", slowest, res.Reads())
	if slowest > most.Slowest || res.Reads() > max(0, most.Egress) {
		t.Errorf("slowest %.3f of the bound (at most %.2f), egress %.3f (%.2f): %s", slowest, most.Slowest, res.Reads(), max(0, most.Egress), cfg.Replay)
	}
}

// TestLateMessages has a few nodes read once, though they hear of each other's reads when a good part of
// one is over, and one comes in the middle.
func TestLateMessages(t *testing.T) {
	const seeds, most = 60, 1.0085
	all := 0.0
	for seed := range uint64(seeds) {
		cfg := find(t, "late-messages").Sized(40*blob.MiB).Config(3, seed+1)
		res := run(t, cfg)
		mustKeep(t, cfg, res, sim.Aim{Slowest: 1.60, Egress: 1.05})
		all += res.Reads()
	}
	if mean := all / seeds; mean > most {
		t.Errorf("the registry sent %.4f layers on average, want %v at most", mean, most)
	}
}

// TestReadsThoughOthersDoNot has one of three nodes read for all, on fast links, when the other two have no registry.
func TestReadsThoughOthersDoNot(t *testing.T) {
	const fast, most = 125_000_000, 2.2 // it sends everything twice
	times := make([]float64, 0, 2)
	for _, nodes := range []int{1, 3} {
		cfg := find(t, "fast-registry").Sized(256*blob.MiB).Config(nodes, 1)
		cfg.Upstream.Rate, cfg.HashRate = 4*fast, 1_000_000_000
		for i := range cfg.Nodes {
			cfg.Nodes[i].Up, cfg.Nodes[i].Down = fast, fast
			if i > 0 {
				cfg.Nodes[i].Registry = sim.RegistryUnknown
			}
		}
		res := run(t, cfg)
		times = append(times, secs(cfg.Times(res, func(n sim.Node) bool { return n.Registry == sim.RegistryWorks })[0]))
	}
	t.Logf("alone %.2f s, with two who read nothing %.2f s", times[0], times[1])
	if times[1] > most*times[0] {
		t.Errorf("a node that reads for three takes %.2f s, alone %.2f s", times[1], times[0])
	}
}
