package sim

import (
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// quick gives the nodes links that are no bottleneck, and a registry that serves each of them at its
// full link: what is left to wait for is the fault.
func quick(c *Config, _ uint64) {
	const up, down = 100 * blob.MiB, 50 * blob.MiB
	for i := range c.Nodes {
		c.Nodes[i].Up, c.Nodes[i].Down = up, down
	}
	c.Upstream.Rate = down * blob.ByteCount(len(c.Nodes))
}

// to changes one node, if the run has as many.
func to(node int, change func(*Node)) func(*Config, uint64) {
	return func(c *Config, _ uint64) {
		if node < len(c.Nodes) {
			change(&c.Nodes[node])
		}
	}
}

// crashing has two nodes die in mid-pull.
func crashing(silent bool) func(*Config, uint64) {
	dies := func(at scheduler.Time) func(*Node) {
		return func(n *Node) { n.Crash, n.Silent = at, silent }
	}
	return with(to(1, dies(second)), to(4, dies(second/2)))
}

// cutting takes half of six nodes away from the others for a while.
func cutting(long scheduler.Time) func(*Config, uint64) {
	return func(c *Config, _ uint64) {
		c.Partitions = []Partition{{From: second / 2, To: second/2 + long, Nodes: []int{0, 3, 4}}}
	}
}

// faultCases are small networks with one fault each, that tests play with many seeds.
func faultCases() []Case {
	fault := func(name, what string, nodes int, size blob.ByteCount, changes ...func(*Config, uint64)) Case {
		return newCase(name, what, nodes, Aim{}, layers(size), quick, with(changes...))
	}
	return []Case{
		fault("crash", "two processes die in mid-pull", 6, 100*blob.MiB, crashing(false)),
		fault("crash-silent", "two machines die in mid-pull, and nobody is told", 6, 100*blob.MiB, crashing(true)),
		fault("restart", "a node dies, and comes back with its partial file", 4, 100*blob.MiB,
			to(1, func(n *Node) { n.Crash, n.Restart = second, 2*second })),
		fault("cut-short", "half of the nodes are cut off for 3 s", 6, 100*blob.MiB, cutting(3*second)),
		fault("cut-long", "half of the nodes are cut off for 40 s", 6, 100*blob.MiB, cutting(40*second)),
		fault("losses", "a third of peer exchange, records and answers in time is lost", 8, 100*blob.MiB, func(c *Config, _ uint64) {
			c.LostTales, c.DHT.Missing, c.DHT.Late = 0.3, 0.3, 0.3
		}),
		fault("cold-liars", "one serves wrong chunks, another a wrong chain, and nobody has anything yet", 6, 60*blob.MiB,
			to(2, func(n *Node) { n.Lies, n.Every = WrongBytes, 4 }), to(3, func(n *Node) { n.Lies = FalseState })),
	}
}
