package sim_test

import (
	"fmt"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
	"github.com/shoal-project/shoal/scheduler/sim"
)

const second = scheduler.Time(1e9)

// nodes are n nodes with links that are no bottleneck for what these tests ask.
func nodes(n int) []sim.Node {
	out := make([]sim.Node, n)
	for i := range out {
		out[i].Up, out[i].Down = 100*blob.MiB, 50*blob.MiB
	}
	return out
}

// swarm is one image that all nodes want, and a registry that serves each of them at its full link.
func swarm(seed uint64, nodes []sim.Node, sizes ...blob.ByteCount) sim.Config {
	return sim.Config{
		Seed: seed, Images: [][]blob.ByteCount{sizes}, Nodes: nodes,
		Upstream: sim.Upstream{Rate: 50 * blob.MiB * blob.ByteCount(len(nodes))},
	}
}

// find is the case of that name.
func find(t *testing.T, name string) sim.Case {
	t.Helper()
	c, ok := sim.FindCase(name)
	if !ok {
		t.Fatalf("no case %q", name)
	}
	return c
}

// config is the run of a case with as many nodes as it is about.
func config(t *testing.T, name string, seed uint64) sim.Config {
	t.Helper()
	c := find(t, name)
	return c.Config(c.Nodes, seed)
}

// run plays a run to its end. One that is no case's is played again by its test.
func run(t *testing.T, cfg sim.Config) sim.Result {
	t.Helper()
	if cfg.Replay == "" {
		cfg.Replay = fmt.Sprintf("go test ./scheduler/sim -run '^%s$'", t.Name())
	}
	res, err := sim.Run(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func mustProve(t *testing.T, res sim.Result) {
	t.Helper()
	for _, o := range res.Outcomes {
		if !o.Proven {
			t.Errorf("%s ended without %s: abandoned %v (%v) at %v", o.Node, o.Blob.Short(), o.Ended, o.Why, o.At)
		}
	}
}

func TestLoneNode(t *testing.T) {
	size := 200 * blob.MiB
	for _, off := range []bool{true, false} {
		cfg := swarm(1, nodes(2), size)
		cfg.DHT.Off = off
		cfg.Nodes[1].Start = 100 * second
		res := run(t, cfg)
		mustProve(t, res)
		direct := scheduler.Time(int64(size) * int64(second) / int64(50*blob.MiB))
		if got := res.Outcomes[0].At; got > direct*11/10+second*15/100 {
			t.Errorf("alone (no DHT: %v): %v, direct is %v", off, got, direct)
		}
	}
}

func TestCrowdReadsOnce(t *testing.T) {
	for _, n := range []int{2, 5, 10, 20} {
		res := run(t, swarm(7, nodes(n), 300*blob.MiB))
		mustProve(t, res)
		t.Logf("%d nodes: %.3f reads, %v, %d events", n, res.Reads(), res.At, res.Events)
		if res.Reads() > 1.05 {
			t.Errorf("%d nodes read the image %.3f times", n, res.Reads())
		}
	}
}

// TestRateStepTellsTheSame: rates that are looked at every 2 ms make no other figures.
func TestRateStepTellsTheSame(t *testing.T) {
	var took [2]float64
	for k, step := range []scheduler.Time{0, second / 500} {
		cfg := swarm(2, nodes(6), 200*blob.MiB)
		cfg.RateStep = step
		times := cfg.Times(run(t, cfg), cfg.Counts)
		took[k] = float64(times[len(times)/2])
	}
	if ratio := took[1] / took[0]; ratio < 0.95 || ratio > 1.05 {
		t.Errorf("with a step it takes %.3f times as long", ratio)
	}
}

// TestStoppedRun: a run that is stopped in the middle is not held to an end.
func TestStoppedRun(t *testing.T) {
	cfg := config(t, "fast-registry", 1)
	cfg.Progress = func(sim.Progress) bool { return false }
	if res := run(t, cfg); res.Outcomes[0].Proven {
		t.Error("it went on")
	}
}

// TestSlowRegistryIsReadOnce: chunks of 512 KiB that take their time are no reason to step
// in for each other.
func TestSlowRegistryIsReadOnce(t *testing.T) {
	cfg := swarm(3, nodes(8), blob.GiB, 3*blob.MiB, 20*blob.MiB)
	cfg.Upstream.PerConnection = 6 * blob.MiB
	res := run(t, cfg)
	mustProve(t, res)
	t.Logf("%.3f reads, %v", res.Reads(), res.At)
	if res.Reads() > 1.05 {
		t.Errorf("read the image %.3f times", res.Reads())
	}
}

// TestLatecomersReadNothing: whoever comes to a swarm with a seeder takes it all from there.
func TestLatecomersReadNothing(t *testing.T) {
	cfg := swarm(4, nodes(4), 100*blob.MiB)
	for i := range cfg.Nodes[1:] {
		cfg.Nodes[i+1].Start = scheduler.Time(10+i) * second
	}
	res := run(t, cfg)
	mustProve(t, res)
	if res.Upstream != res.Total {
		t.Errorf("read %d bytes of %d", res.Upstream, res.Total)
	}
}

// TestNoRegistryNeeded: a node without a registry, and one that is refused, get everything
// from a peer.
func TestNoRegistryNeeded(t *testing.T) {
	cfg := swarm(5, nodes(3), 30*blob.MiB)
	cfg.Nodes[1].Registry = sim.RegistryUnknown
	cfg.Nodes[2].Registry = sim.RegistryRefuses
	mustProve(t, run(t, cfg))
}

// TestNobodyDelivers: the client hears what the registry said.
func TestNobodyDelivers(t *testing.T) {
	cfg := swarm(6, nodes(2), 30*blob.MiB)
	for i := range cfg.Nodes {
		cfg.Nodes[i].Registry = sim.RegistryRefuses
	}
	for _, o := range run(t, cfg).Outcomes {
		if !o.Ended || o.Why != scheduler.FaultUnauthorized || o.At > 90*second {
			t.Errorf("%s: ended %v (%v) at %v", o.Node, o.Ended, o.Why, o.At)
		}
	}
}

// TestBrokenProxy: a node whose registry serves other bytes gets none of them to a client
// or past an honest peer's proof.
func TestBrokenProxy(t *testing.T) {
	cfg := swarm(8, nodes(4), 40*blob.MiB)
	cfg.Nodes[0].Registry = sim.RegistryLies
	res := run(t, cfg)
	for _, o := range res.Outcomes[1:] {
		if !o.Proven {
			t.Errorf("%s: ended %v (%v)", o.Node, o.Ended, o.Why)
		}
	}
}

// TestLiarsAreFound: with a liar in a cold swarm nobody waits long, the liar is refused, and
// audits do not amplify registry reads.
func TestLiarsAreFound(t *testing.T) {
	lied := 0
	for seed := range uint64(20) {
		cfg := config(t, "cold-liars", seed)
		res := run(t, cfg)
		if res.Wrong["n002"] > 0 {
			lied++
		}
		if res.Wrong["n002"] > 0 && res.Quarantined["n002"] == 0 || res.At > 20*second || res.Reads() > 2.5 {
			t.Errorf("%s: quarantined %v, %v, %.2f reads", cfg.Replay, res.Quarantined, res.At, res.Reads())
		}
	}
	if lied < 15 {
		t.Errorf("the liar was heard in %d runs of 20", lied)
	}
}

// TestSameSeedSameTrace: the same run does the same to the byte, and another seed another.
func TestSameSeedSameTrace(t *testing.T) {
	for _, name := range []string{"churn", "liars-mix", "random", "many-layers"} {
		c := find(t, name).Sized(10*blob.MiB, 5*blob.MiB)
		var traces [3]uint64
		for k, seed := range []uint64{42, 42, 43} {
			traces[k] = run(t, c.Config(12, seed)).Trace
		}
		if traces[0] != traces[1] || traces[0] == traces[2] {
			t.Errorf("%s: the same seed gives %x and %x, another %x", name, traces[0], traces[1], traces[2])
		}
	}
}

// TestSameSeedSameText: every event and every action of a run is the same again, word for word, with
// exact rates and with a step between them.
func TestSameSeedSameText(t *testing.T) {
	c := find(t, "churn").Sized(10*blob.MiB, 5*blob.MiB)
	for _, step := range []scheduler.Time{0, second / 500} {
		var texts [2][]string
		for k := range texts {
			cfg := c.Config(12, 42)
			cfg.RateStep, cfg.Replay = step, ""
			cfg.Trace = func(line string) { texts[k] = append(texts[k], line) }
			run(t, cfg)
		}
		if len(texts[0]) < 1000 {
			t.Fatalf("%d lines are no run", len(texts[0]))
		}
		for i, line := range texts[0] {
			if i >= len(texts[1]) || texts[1][i] != line {
				t.Fatalf("step %d ns: line %d is %q, and then not", step, i, line)
			}
		}
		if len(texts[0]) != len(texts[1]) {
			t.Errorf("step %d ns: %d lines, and then %d", step, len(texts[0]), len(texts[1]))
		}
	}
}
