package sim

import (
	"math/rand/v2"
	"slices"

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
	if oneIn(r, 4) {
		c.Images = append(c.Images, drawLayers(r))
	}
	drawNetwork(c, r)
	for i := range c.Nodes {
		n := &c.Nodes[i]
		n.Zone = string(rune('a' + r.IntN(2)))
		if r.IntN(3) > 0 {
			n.Start = upTo(r, 2*second)
		}
		if oneIn(r, 4) {
			n.Up, n.Down = defaultLink*blob.ByteCount(1+r.IntN(8)), defaultLink*blob.ByteCount(1+r.IntN(8))
		}
		drawFault(n, r, i > 0)
	}
	c.Limit = c.deadline()
}

// deadline is when every node must be done, or have given up: the faults are over by then, and
// since then each could have read everything by itself, three times over, as a node has to whose
// registry lies. Patience is for those who have none, and wait for peers. A registry without
// Range has as much again for each part that is read.
func (c Config) deadline() scheduler.Time {
	const times, parts, patience = 3, 3, 150 * second
	c = c.withDefaults()
	quiet := c.Upstream.Outage[1]
	for _, p := range c.Partitions {
		quiet = max(quiet, p.To)
	}
	down := c.Nodes[0].Down
	for _, n := range c.Nodes {
		quiet = max(quiet, n.Start, n.Restart, n.Outage[1])
		down = min(down, n.Down)
	}
	if limit := c.Upstream.PerConnection; limit > 0 {
		down = min(down, limit)
	}
	var size blob.ByteCount
	for _, s := range slices.Concat(c.Images...) {
		size += s
	}
	took := func(bytes, rate blob.ByteCount) scheduler.Time {
		return scheduler.Time(float64(bytes) / float64(rate) * float64(second))
	}
	alone := took(size, down) + took(size*blob.ByteCount(len(c.Nodes)), c.Upstream.Rate) + took(size, c.HashRate)
	if c.Upstream.NoRange {
		alone *= parts
	}
	return quiet + times*alone + patience
}

func drawLayers(r *rand.Rand) []blob.ByteCount {
	sizes := make([]blob.ByteCount, 1+r.IntN(3))
	for i := range sizes {
		sizes[i] = blob.ByteCount(r.Int64N(int64(60 * blob.MiB)))
	}
	switch {
	case oneIn(r, 10):
		sizes[0] = 0
	case oneIn(r, 20):
		sizes[0] *= 5
	}
	return sizes
}

// oneIn draws true once in so many times.
func oneIn(r *rand.Rand, n int) bool { return r.IntN(n) == 0 }

// drawNetwork draws what is wrong for everybody, one thing independent of the other.
func drawNetwork(c *Config, r *rand.Rand) {
	c.Upstream.Rate = defaultLink * blob.ByteCount(1+r.IntN(4))
	c.Upstream.NoRange = oneIn(r, 12)
	c.DHT.Off = oneIn(r, 16)
	if oneIn(r, 6) {
		c.LostTales = 0.5
	}
	if oneIn(r, 6) {
		c.DHT.Missing, c.DHT.Late = 0.3, 0.2
	}
	if oneIn(r, 6) {
		c.Upstream.Outage = drawSpan(r, 8*second)
	}
	if oneIn(r, 8) {
		c.Upstream.PerConnection = defaultLink / 4
	}
	if oneIn(r, 8) {
		c.HashRate, c.Cores = 10_000_000, 1
	}
	for oneIn(r, 4) {
		span := drawSpan(r, 20*second)
		cut := r.Perm(len(c.Nodes))[:r.IntN(len(c.Nodes))]
		c.Partitions = append(c.Partitions, Partition{From: span[0], To: span[1], Nodes: cut})
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
	if anything && oneIn(r, 6) {
		n.Registry = []Registry{RegistryUnknown, RegistryRefuses, RegistryLies}[r.IntN(3)]
	}
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
		n.Silent = oneIn(r, 2)
		if oneIn(r, 2) {
			n.Restart = n.Crash + upTo(r, 15*second) + 1
		}
	case fault == 4:
		n.Held = true
	case fault < 7:
		n.Lies, n.Every = drawLie(r)|drawLie(r)*Lie(r.IntN(2)), 1+r.IntN(5)
		n.Held = oneIn(r, 4)
	}
}

func drawLie(r *rand.Rand) Lie { return 1 << r.IntN(lies) }
