package sim_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
	"github.com/shoal-project/shoal/scheduler/sim"
)

const second = scheduler.Time(1e9)

func nodes(n int) []sim.Node { return make([]sim.Node, n) }

func run(t *testing.T, cfg sim.Config) sim.Result {
	t.Helper()
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
	for _, noDHT := range []bool{true, false} {
		cfg := sim.Config{Seed: 1, Blobs: []blob.ByteCount{size}, Nodes: nodes(2), NoDHT: noDHT}
		cfg.Nodes[1].Start = 100 * second
		res := run(t, cfg)
		mustProve(t, res)
		direct := scheduler.Time(int64(size) * int64(second) / int64(50*blob.MiB))
		if got := res.Outcomes[0].At; got > direct*11/10+second*15/100 {
			t.Errorf("alone (no DHT: %v): %v, direct is %v", noDHT, got, direct)
		}
	}
}

func TestCrowdReadsOnce(t *testing.T) {
	for _, n := range []int{2, 5, 10, 20} {
		res := run(t, sim.Config{Seed: 7, Blobs: []blob.ByteCount{300 * blob.MiB}, Nodes: nodes(n)})
		mustProve(t, res)
		t.Logf("%d nodes: %.3f reads, %v, %d events", n, res.Reads(), res.At, res.Events)
		if res.Reads() > 1.05 {
			t.Errorf("%d nodes read the image %.3f times", n, res.Reads())
		}
	}
}

// TestSlowRegistryIsReadOnce: chunks of 4 MiB that take their time are no reason to step in
// for each other.
func TestSlowRegistryIsReadOnce(t *testing.T) {
	cfg := sim.Config{Seed: 3, Blobs: []blob.ByteCount{blob.GiB, 3 * blob.MiB, 20 * blob.MiB}, Nodes: nodes(8)}
	for i := range cfg.Nodes {
		cfg.Nodes[i].Downlink = 6 * blob.MiB
	}
	res := run(t, cfg)
	mustProve(t, res)
	t.Logf("%.3f reads, %v", res.Reads(), res.At)
	if res.Reads() > 1.05 {
		t.Errorf("read the image %.3f times", res.Reads())
	}
}

// TestLatecomersReadNothing: whoever comes to a swarm with a seeder takes it all from there.
func TestLatecomersReadNothing(t *testing.T) {
	cfg := sim.Config{Seed: 4, Blobs: []blob.ByteCount{100 * blob.MiB}, Nodes: nodes(4)}
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
	cfg := sim.Config{Seed: 5, Blobs: []blob.ByteCount{30 * blob.MiB}, Nodes: nodes(3)}
	cfg.Nodes[1].Registry = sim.RegistryUnknown
	cfg.Nodes[2].Registry = sim.RegistryRefuses
	mustProve(t, run(t, cfg))
}

// TestNobodyDelivers: the client hears what the registry said.
func TestNobodyDelivers(t *testing.T) {
	cfg := sim.Config{Seed: 6, Blobs: []blob.ByteCount{30 * blob.MiB}, Nodes: nodes(2)}
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
	cfg := sim.Config{Seed: 8, Blobs: []blob.ByteCount{40 * blob.MiB}, Nodes: nodes(4)}
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
	for seed := range uint64(20) {
		cfg := sim.Config{Seed: seed, Blobs: []blob.ByteCount{60 * blob.MiB}, Nodes: nodes(6)}
		cfg.Nodes[2].Lies = 4
		cfg.Nodes[3].LiesChain = true
		res := run(t, cfg)
		mustProve(t, res)
		if res.Quarantined["n02"] == 0 || res.At > 20*second || res.Reads() > 2.5 {
			t.Errorf("seed %d: quarantined %v, %v, %.2f reads", seed, res.Quarantined, res.At, res.Reads())
		}
	}
}

func TestSameSeedSameTrace(t *testing.T) {
	cfg := randomConfig(42)
	a, errA := sim.Run(cfg)
	b, errB := sim.Run(cfg)
	if a.Trace != b.Trace || a.Events != b.Events || fmt.Sprint(errA) != fmt.Sprint(errB) {
		t.Fatalf("two runs differ: %x after %d events, %x after %d", a.Trace, a.Events, b.Trace, b.Events)
	}
}

// randomConfig draws a network of two to six nodes with faults. Node 0 is honest and lives.
func randomConfig(seed uint64) sim.Config {
	r := rand.New(rand.NewPCG(seed, 99))
	cfg := sim.Config{Seed: seed}
	for range 1 + r.IntN(3) {
		cfg.Blobs = append(cfg.Blobs, blob.ByteCount(r.Int64N(int64(60*blob.MiB))))
	}
	for i := range 2 + r.IntN(5) {
		n := sim.Node{Start: scheduler.Time(r.Int64N(int64(2 * second))), Zone: string(rune('a' + r.IntN(2)))}
		if r.IntN(3) == 0 {
			n.Start = 0
		}
		switch fault := r.IntN(12); {
		case fault == 0:
			n.Outage = [2]scheduler.Time{scheduler.Time(r.Int64N(int64(second))), scheduler.Time(r.Int64N(int64(8 * second)))}
		case i == 0:
		case fault == 1:
			n.Crash = n.Start + scheduler.Time(r.Int64N(int64(3*second)))
		case fault == 2:
			n.Lies = 1 + r.IntN(5)
		case fault == 3:
			n.LiesChain = true
		case fault == 4:
			n.Uplink = 256 * blob.KiB
		case fault == 5:
			n.Mute = true
		case fault == 6:
			n.Held = true
		case fault == 7:
			n.Downlink = blob.MiB
		case fault == 8:
			n.Held, n.Lies = true, 2
		case fault == 9:
			n.Held, n.LiesChain = true, true
		}
		cfg.Nodes = append(cfg.Nodes, n)
	}
	return cfg
}

// TestEveryDownloadEnds plays random networks with faults: every invariant holds at every
// step, and every node with a working registry gets every blob.
func TestEveryDownloadEnds(t *testing.T) {
	rounds := uint64(120)
	if testing.Short() {
		rounds = 40
	}
	for seed := range rounds {
		cfg := randomConfig(seed)
		res, err := sim.Run(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range res.Outcomes {
			spec := cfg.Nodes[i/len(cfg.Blobs)]
			if !o.Proven && spec.Crash == 0 {
				t.Fatalf("seed %d: %s ended without blob %s: abandoned %v (%v) at %v", seed, o.Node, o.Blob.Short(), o.Ended, o.Why, o.At)
			}
		}
	}
}
