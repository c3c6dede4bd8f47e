package sim

import (
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

const (
	microsecond = scheduler.Time(time.Microsecond)
	millisecond = scheduler.Time(time.Millisecond)
	second      = scheduler.Time(time.Second)
)

// A Config describes one run. Zero fields mean what their comments say.
type Config struct {
	Seed      uint64
	Replay    string             // the command that plays this run again; part of every error
	Images    [][]blob.ByteCount // sizes of the layers, by image; every node wants all at once
	Nodes     []Node
	Scheduler scheduler.Config // Self, Zone and Seed are set for each node

	Latency    Latency
	Upstream   Upstream
	DHT        DHT
	LostTales  float64 // the part of peer exchange messages that get lost
	Partitions []Partition
	HashRate   blob.ByteCount // bytes a second that one core hashes: 240 MB
	Cores      int            // of each node, for hashing: 2

	// RateStep is the least time between two looks at who gets how much of a link. 0: rates
	// are exact at any time. With many nodes that is most of the work, and 2 ms tell no other tale.
	RateStep scheduler.Time
	Limit    scheduler.Time // the run ends then at the latest: 1 h
	Trace    func(line string)
	Progress func(Progress) (goOn bool) // now and then; false stops the run where it is

	Watch      func(Moment)   // is shown the network
	WatchEvery scheduler.Time // so often: 1 s
}

// A Latency is how long a message takes one way.
type Latency struct {
	Near scheduler.Time // within a zone: 0.5 ms
	Far  scheduler.Time // between zones: 2 ms
	Late scheduler.Time // how much longer at most, behind chunks and after losses; mostly far less: 0
}

// Upstream describes the registry.
type Upstream struct {
	Rate          blob.ByteCount    // bytes a second, in all: 50 MB
	PerConnection blob.ByteCount    // bytes a second of one read; 0: no limit
	FirstByte     scheduler.Time    // from the request to the first byte: 30 ms
	NoRange       bool              // a part costs everything before it
	Outage        [2]scheduler.Time // nobody is served from, to
}

// DHT describes first contact.
type DHT struct {
	Off     bool           // nobody finds anybody, nor counts members
	Publish scheduler.Time // until an announcement can be found: 10 ms
	Lookup  scheduler.Time // until a lookup answers: 10 ms
	Late    float64        // the part of lookups that take 50 times as long
	Missing float64        // the part of the records that one node never sees; others see others
}

// A Partition cuts nodes off from all others, the registry not among them. A connection
// across it stands still, and breaks when silence lasts.
type Partition struct {
	From, To scheduler.Time
	Nodes    []int
}

// A Registry says what a node gets from upstream.
type Registry uint8

// Registries.
const (
	RegistryWorks   Registry = iota
	RegistryUnknown          // the node knows none
	RegistryRefuses          // 401
	RegistryLies             // serves other bytes: a broken proxy
)

// A Node describes one node and its faults.
type Node struct {
	Zone     string
	Up, Down blob.ByteCount // bytes a second: 12.5 MB, a link of 100 Mbit/s
	Start    scheduler.Time // when it begins to want the blobs; its daemon runs from the beginning
	Crash    scheduler.Time // when it dies; 0: never
	Restart  scheduler.Time // when it comes back with its partial files; 0: never
	Silent   bool           // its machine dies and not its process only: nobody is told
	Registry Registry
	Outage   [2]scheduler.Time // upstream does not serve this node from, to
	Held     bool              // has every blob from the start

	Lies  Lie // what it does that no honest node would
	Every int // one chunk in so many that it serves is wrong: 1
}

// Defaults of a node's links: 100 Mbit/s.
const defaultLink blob.ByteCount = 12_500_000

func orDefault[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

func (c Config) withDefaults() Config {
	orDefault(&c.Latency.Near, millisecond/2)
	orDefault(&c.Latency.Far, 2*millisecond)
	orDefault(&c.Upstream.Rate, 4*defaultLink)
	orDefault(&c.Upstream.FirstByte, 30*millisecond)
	orDefault(&c.DHT.Publish, 10*millisecond)
	orDefault(&c.DHT.Lookup, 10*millisecond)
	orDefault(&c.HashRate, 240_000_000)
	orDefault(&c.Cores, 2)
	orDefault(&c.Limit, 3600*second)
	orDefault(&c.WatchEvery, second)
	nodes := make([]Node, len(c.Nodes))
	for i, n := range c.Nodes {
		orDefault(&n.Up, defaultLink)
		orDefault(&n.Down, defaultLink)
		orDefault(&n.Every, 1)
		nodes[i] = n
	}
	c.Nodes = nodes
	return c
}

// honest reports whether the node never sends anything wrong, as far as it knows.
func (n Node) honest() bool { return n.Lies == 0 && n.Registry != RegistryLies }
