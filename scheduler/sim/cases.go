package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// A Case is one named experiment and what it aims at.
type Case struct {
	Name  string
	What  string // one line for people
	Nodes int    // as many as it is about
	Aim   Aim
	draw  func(c *Config, seed uint64)
	sizes []blob.ByteCount // of the layers of one image, in place of the case's own; none: those
}

// An Aim is what a case should come to, at most. Zero fields are no aim.
type Aim struct {
	Slowest float64 // the slowest node's time, as a multiple of the bound
	Egress  float64 // what the registry sends, as a multiple of the images; below 0: nothing
}

func newCase(name, what string, nodes int, aim Aim, changes ...func(*Config, uint64)) Case {
	return Case{Name: name, What: what, Nodes: nodes, Aim: aim, draw: with(changes...)}
}

// exactUpTo is how many nodes share links by the exact rates at each change.
const exactUpTo = 50

// Sized is the case with one image of layers of these sizes in place of its own.
func (c Case) Sized(layers ...blob.ByteCount) Case {
	c.sizes = layers
	return c
}

// Config is the run of a case with so many nodes and this seed. Replay names exactly that:
// whoever changes the Config plays another run.
func (c Case) Config(nodes int, seed uint64) Config {
	cfg := Config{
		Seed: seed, Images: [][]blob.ByteCount{{blob.GiB}}, Nodes: make([]Node, nodes),
		Replay: fmt.Sprintf("go run ./test/sim --case %s --nodes %d --seed %d", c.Name, nodes, seed),
	}
	if nodes > exactUpTo {
		cfg.RateStep = 2 * millisecond
	}
	draw := c.draw
	if len(c.sizes) > 0 {
		cfg.Replay += " --size " + sizesText(c.sizes)
		draw = with(layers(c.sizes...), c.draw, layers(c.sizes...)) // some draw by how long their images take
	}
	draw(&cfg, seed)
	return cfg
}

// sizesText is sizes in bytes as a command line takes them.
func sizesText(sizes []blob.ByteCount) string {
	words := make([]string, len(sizes))
	for i, s := range sizes {
		words[i] = strconv.FormatInt(int64(s), 10)
	}
	return strings.Join(words, ",")
}

// Cases are all experiments with an aim, in the order in which they are shown.
func Cases() []Case {
	return slices.Concat(crowdCases(), liarCases(), otherCases(), faultCases())
}

// FindCase is the case of that name.
func FindCase(name string) (Case, bool) {
	all := Cases()
	at := slices.IndexFunc(all, func(c Case) bool { return c.Name == name })
	if at < 0 {
		return Case{}, false
	}
	return all[at], true
}

// upstream is a registry whose link is so many times, and so many parts of, a node's.
func upstream(times, parts blob.ByteCount) func(*Config, uint64) {
	return func(c *Config, _ uint64) { c.Upstream.Rate = defaultLink * times / parts }
}

// with applies several changes, one after another.
func with(changes ...func(*Config, uint64)) func(*Config, uint64) {
	return func(c *Config, seed uint64) {
		for _, change := range changes {
			change(c, seed)
		}
	}
}

// layers has every node want one image of these layers.
func layers(sizes ...blob.ByteCount) func(*Config, uint64) {
	return func(c *Config, _ uint64) { c.Images = [][]blob.ByteCount{sizes} }
}

// arriving spreads the starts evenly.
func arriving(over scheduler.Time) func(*Config, uint64) {
	return func(c *Config, _ uint64) {
		for i := range c.Nodes {
			c.Nodes[i].Start = over * scheduler.Time(i) / scheduler.Time(max(1, len(c.Nodes)-1))
		}
	}
}

// every changes one node in so many, and never the first.
func every(n int, change func(*Node)) func(*Config, uint64) {
	return func(c *Config, _ uint64) {
		for i := n / 2; i < len(c.Nodes); i += n {
			change(&c.Nodes[i])
		}
	}
}

func crowdCases() []Case {
	fast := upstream(4, 1)
	return []Case{
		newCase("slow-registry", "all at once, the registry's link a tenth of a node's", 100, Aim{1.05, 1.05}, upstream(1, 10)),
		newCase("equal-registry", "all at once, the registry's link as a node's", 100, Aim{1.30, 1.05}, upstream(1, 1)),
		newCase("fast-registry", "all at once, the registry's link four times a node's", 100, Aim{1.20, 1.05}, fast),
		newCase(
			"slow-nodes", "one node in 20 ten times slower; the others' times", 100,
			Aim{1.60, 1.10},
			fast, slowOnes,
		),
		newCase("arriving", "over 5 s, the registry's link four times a node's", 100, Aim{1.35, 1.05}, with(fast, arriving(5*second))),
		newCase("arriving-equal", "over 5 s, the registry's link as a node's", 100, Aim{1.35, 1.05}, with(upstream(1, 1), arriving(5*second))),
		newCase("thousand-small", "a thousand nodes, 64 MiB, the registry's link four times a node's", 1000, Aim{2.0, 1.10}, with(fast, layers(64*blob.MiB))),
		newCase("thousand", "a thousand nodes, 1 GiB, the registry's link four times a node's", 1000, Aim{2.0, 1.10}, fast),
		newCase(
			"seeded", "one seeder, all others come later", 100,
			Aim{1.30, -1},
			fast, seeded,
		),
		newCase("seeded-slow", "the same, and one node in 20 ten times slower; the others' times", 100, Aim{1.60, -1}, fast, seeded, slowOnes),
		newCase(
			"partial-view", "each node never sees 5 % of the others' records", 100,
			Aim{1.25, 1.10},
			fast, partialView,
		),
		newCase("partial-view-equal", "the same, the registry's link as a node's", 100, Aim{1.35, 1.10}, upstream(1, 1), partialView),
		newCase("partial-view-slow", "the same, the registry's link a tenth of a node's", 100, Aim{1.10, 1.10}, upstream(1, 10), partialView),
		newCase("slow-dht", "an announcement and a look take 100 ms each", 100, Aim{1.25, 1.10}, fast, func(c *Config, _ uint64) {
			c.DHT.Publish, c.DHT.Lookup = 100*millisecond, 100*millisecond
		}),
	}
}

// seeded has the first node hold everything, and the others come a second later.
func seeded(c *Config, _ uint64) {
	for i := range c.Nodes {
		c.Nodes[i].Held, c.Nodes[i].Start = i == 0, scheduler.Time(min(i, 1))*second
	}
}

// slowOnes gives one node in 20 a tenth of the others' links.
func slowOnes(c *Config, seed uint64) {
	every(20, func(n *Node) { n.Up, n.Down = defaultLink/10, defaultLink/10 })(c, seed)
}

// partialView hides 5 % of the others' records from each node.
func partialView(c *Config, _ uint64) { c.DHT.Missing = 0.05 }

// lying makes one node in ten a liar.
func lying(lies Lie, kindEvery int) func(*Config, uint64) {
	return with(upstream(4, 1), every(10, func(n *Node) { n.Lies, n.Every = lies, kindEvery }))
}

// A liarKind is one way to lie.
type liarKind struct {
	name, what string
	lies       Lie
	every      int
}

func liarKinds() []liarKind {
	return []liarKind{
		{"wrong-bytes", "serve wrong bytes as every chunk, and say that they have all", FalseHave | WrongBytes, 1},
		{"few-wrong-bytes", "serve wrong bytes as one chunk in eight", WrongBytes, 8},
		{"wrong-place", "serve another chunk's bytes", FalseHave | WrongPlace, 2},
		{"false-state", "send a chain with one wrong state", FalseState, 1},
		{"false-link", "send a chain that is wrong where it is checked last", FalseLink, 1},
		{"false-chain", "send a chain over wrong chunks, and the wrong chunks", FalseHave | FalseChain, 1},
		{"false-have", "say that they have all, and are busy", FalseHave, 1},
		{"mute", "say that they have all, and answer nothing", FalseHave | Mute, 1},
		{"drip", "say that they have all, and send 1 KiB/s", FalseHave | Drip, 1},
		{"stall", "say that they have all, begin to send, and stand still", FalseHave | Stall, 1},
		{"busy", "are busy for ever", Busy, 1},
		{"false-claims", "say that they read four runs, every second others", FalseClaims, 1},
		{"claims-ahead", "say that they read what others are about to", ClaimsAhead, 1},
		{"have-flood", "tell what they have a hundred times a second", HaveFlood, 1},
		{"peers-flood", "name peers that do not exist a hundred times a second", PeersFlood, 1},
		{"cut-off", "end the session before a chunk's last byte", FalseHave | CutOff, 1},
		{"ghosts", "name peers that do not exist", Ghosts, 1},
		{"ground-ghosts", "name peers that do not exist and would read first", GroundGhosts, 1},
		{"nearly-have", "say that they have all but one chunk, and serve one ask in 20", NearlyHave, 1},
		{"nearly-wrong", "say that they have all but one chunk, and serve wrong bytes", NearlyHave | WrongBytes, 1},
		{"ask-flood", "ask for everything and take nothing", AskFlood, 1},
	}
}

func liarCases() []Case {
	var cases []Case
	for _, k := range liarKinds() {
		cases = append(cases, newCase("liars-"+k.name, "10 % of the nodes "+k.what, 100, Aim{2.0, 2.0}, lying(k.lies, k.every)))
	}
	seeders := func(lies Lie) func(*Config, uint64) {
		return with(upstream(4, 1), every(10, func(n *Node) { n.Held, n.Lies = true, lies }))
	}
	cases = append(cases,
		newCase("liars-busy-seeders", "one node in ten has all, sends its chain, and is busy for ever", 100, Aim{2.0, 2.0}, seeders(Busy)),
		newCase("liars-stall-seeders", "one node in ten has all, sends its chain, begins to send, and stands still", 100, Aim{2.0, 2.0}, seeders(Stall)))
	mix := func(c *Config, seed uint64) {
		kinds := liarKinds()
		for at, i := 0, 5; i < len(c.Nodes); at, i = at+1, i+10 {
			k := kinds[(at+int(seed%64)*len(c.Nodes)/10)%len(kinds)]
			c.Nodes[i].Lies, c.Nodes[i].Every = k.lies, k.every
		}
	}
	return append(cases, newCase("liars-mix", "10 % of the nodes lie, each in another way", 100, Aim{2.0, 2.0}, upstream(4, 1), mix))
}

// batches is in how many parts a cluster is rolled.
const batches = 5

func otherCases() []Case {
	fast := upstream(4, 1)
	return []Case{
		newCase("many-layers", "24 layers of 2 MiB", 100, Aim{}, with(fast, layers(slices.Repeat([]blob.ByteCount{2 * blob.MiB}, 24)...))),
		newCase("two-images", "two images of 512 MiB on the same nodes at once", 100, Aim{}, with(fast, func(c *Config, _ uint64) {
			c.Images = [][]blob.ByteCount{{512 * blob.MiB}, {512 * blob.MiB}}
		})),
		newCase("tiny", "three layers of 100 KiB", 100, Aim{}, with(fast, layers(100*blob.KiB, 100*blob.KiB, 100*blob.KiB))),
		newCase("late-messages", "a message takes up to 200 ms longer, most of them far less; one node starts a second later", 100, Aim{}, with(fast, func(c *Config, _ uint64) {
			c.Latency.Late = 200 * millisecond
			c.Nodes[len(c.Nodes)-1].Start = second
		})),
		newCase("fast-among-slow", "all but the first ten times slower; its time", 4, Aim{}, with(fast, func(c *Config, _ uint64) {
			for i := range c.Nodes[1:] {
				c.Nodes[1+i].Up, c.Nodes[1+i].Down = defaultLink/10, defaultLink/10
			}
		})),
		newCase("no-range", "a registry that ignores Range", 100, Aim{}, with(fast, func(c *Config, _ uint64) { c.Upstream.NoRange = true })),
		newCase("churn", "a third crash in mid-pull, every second of them comes back", 100, Aim{}, with(fast, churn)),
		newCase("rolling", "a fifth of the nodes at a time", 100, Aim{}, with(fast, func(c *Config, _ uint64) {
			wave := c.Bound() * 13 / 10
			for i := range c.Nodes {
				c.Nodes[i].Start = wave * scheduler.Time(i*batches/len(c.Nodes))
			}
		})),
		newCase("two-zones", "half of the nodes in another zone", 100, Aim{}, with(fast, every(2, func(n *Node) { n.Zone = "b" }))),
		newCase("gigabit", "links of 1 Gbit/s", 100, Aim{}, func(c *Config, _ uint64) {
			c.Upstream.Rate = 40 * defaultLink
			for i := range c.Nodes {
				c.Nodes[i].Up, c.Nodes[i].Down = 10*defaultLink, 10*defaultLink
			}
		}),
		randomCase(),
	}
}

// churn has a third of the nodes die within the time that a pull takes.
func churn(c *Config, seed uint64) {
	span := c.Bound()
	for i := 1; i < len(c.Nodes); i += 3 {
		n := &c.Nodes[i]
		n.Crash = span/10 + scheduler.Time(mix(seed, uint64(i))%uint64(span*8/10))
		n.Silent = i%2 == 0
		if i%4 < 2 {
			n.Restart = n.Crash + 5*second
		}
	}
}

// Counts reports whether a node's time counts: it is honest, as fast as the fastest, and lives from its
// start to the end.
func (c Config) Counts(n Node) bool {
	fastest := blob.ByteCount(0)
	for _, o := range c.Nodes {
		fastest = max(fastest, orDefaultLink(o.Down))
	}
	return n.Lies == 0 && !n.Held && orDefaultLink(n.Down) == fastest && n.Crash == 0
}

func orDefaultLink(rate blob.ByteCount) blob.ByteCount {
	if rate == 0 {
		return defaultLink
	}
	return rate
}
