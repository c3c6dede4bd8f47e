package sim

import (
	"math/rand/v2"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// randomCase is a network in which anything may be wrong: whatever it draws, every honest
// node with a registry gets everything in the end.
func randomCase() Case {
	return Case{Name: "random", What: "small layers, and faults and liars drawn by the seed", Nodes: 6, draw: drawFaults}
}

func drawFaults(c *Config, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 99))
	c.Images = [][]blob.ByteCount{drawLayers(r)}
	if r.IntN(4) == 0 {
		c.Images = append(c.Images, drawLayers(r))
	}
	drawNetwork(c, r)
	for i := range c.Nodes {
		n := &c.Nodes[i]
		n.Zone = string(rune('a' + r.IntN(2)))
		if r.IntN(3) > 0 {
			n.Start = upTo(r, 2*second)
		}
		if r.IntN(4) == 0 {
			n.Up, n.Down = defaultLink*blob.ByteCount(1+r.IntN(8)), defaultLink*blob.ByteCount(1+r.IntN(8))
		}
		drawFault(n, r, i > 0)
	}
}

func drawLayers(r *rand.Rand) []blob.ByteCount {
	sizes := make([]blob.ByteCount, 1+r.IntN(3))
	for i := range sizes {
		sizes[i] = blob.ByteCount(r.Int64N(int64(60 * blob.MiB)))
	}
	if r.IntN(10) == 0 {
		sizes[0] = 0
	}
	return sizes
}

// drawNetwork draws what is wrong for everybody.
func drawNetwork(c *Config, r *rand.Rand) {
	c.Upstream.Rate = defaultLink * blob.ByteCount(1+r.IntN(4))
	switch r.IntN(8) {
	case 0:
		c.LostTales = 0.5
	case 1:
		c.DHT.Missing, c.DHT.Late = 0.3, 0.2
	case 2:
		c.Upstream.Outage = drawSpan(r, 8*second)
	case 3:
		c.Upstream.PerConnection = defaultLink / 4
	}
	if r.IntN(4) == 0 && len(c.Nodes) > 2 {
		span := drawSpan(r, 20*second)
		c.Partitions = []Partition{{From: span[0], To: span[1], Nodes: []int{1, 2}}}
	}
}

func upTo(r *rand.Rand, most scheduler.Time) scheduler.Time {
	return scheduler.Time(r.Int64N(int64(most)))
}

// drawSpan draws a time of at least a second that begins early.
func drawSpan(r *rand.Rand, most scheduler.Time) [2]scheduler.Time {
	from := upTo(r, 2*second)
	return [2]scheduler.Time{from, from + second + upTo(r, most)}
}

// drawFault draws what is wrong with one node; only one that need not be honest dies or lies.
func drawFault(n *Node, r *rand.Rand, anything bool) {
	fault := r.IntN(9)
	switch {
	case fault == 0:
		n.Outage = drawSpan(r, 8*second)
	case fault == 1:
		n.Up = 256 * blob.KiB
	case fault == 2:
		n.Down = blob.MiB
	case !anything:
	case fault == 3:
		n.Crash = n.Start + upTo(r, 3*second) + 1
		n.Silent = r.IntN(2) == 0
		if r.IntN(2) == 0 {
			n.Restart = n.Crash + upTo(r, 15*second) + 1
		}
	case fault == 4:
		n.Held = true
	case fault < 7:
		n.Lies, n.Every = drawLie(r)|drawLie(r)*Lie(r.IntN(2)), 1+r.IntN(5)
		n.Held = r.IntN(4) == 0
	}
}

func drawLie(r *rand.Rand) Lie { return 1 << r.IntN(lies) }
