// Package sim runs many scheduler Machines against each other in one discrete-event
// network: a seed goes in, a trace and a Result come out, the same every time.
//
// It models latency, uplinks, the registry, the DHT and the verified store coarsely, and
// faults: nodes that crash, lie, stay mute or lose their registry. On every action it
// checks what no Machine may ever do. It moves no bytes: a chunk's content is a number,
// of which zero is right.
//
// It does not measure a network; it compares policies.
package sim

import (
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// A Config describes one run. Zero fields mean what their comments say.
type Config struct {
	Seed      uint64
	Blobs     []blob.ByteCount // the layers of one image, by size; every node wants all
	Nodes     []Node
	Scheduler scheduler.Config // Self and Seed are set for each node

	Latency         scheduler.Time // one way between nodes: 1 ms
	DHT             scheduler.Time // until a record is found, and of a lookup: 10 ms
	NoDHT           bool           // nobody finds anybody
	UpstreamLatency scheduler.Time // to the first byte: 30 ms
	Limit           scheduler.Time // the run ends then at the latest: 20 min
	Trace           func(line string)
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
	Start    scheduler.Time // when it begins to want the blobs
	Crash    scheduler.Time // when it dies; 0: never
	Zone     string
	Uplink   blob.ByteCount // bytes a second to peers: 100 MiB
	Downlink blob.ByteCount // bytes a second from upstream: 50 MiB
	Registry Registry
	Outage   [2]scheduler.Time // upstream fails from, to
	Held     bool              // has every blob from the start

	Lies      int  // one chunk in so many that it serves is wrong; 0: none
	LiesChain bool // its chains are wrong
	Mute      bool // never answers an ask
}

const second = scheduler.Time(time.Second)

func (c Config) withDefaults() Config {
	if c.Latency == 0 {
		c.Latency = scheduler.Time(time.Millisecond)
	}
	if c.DHT == 0 {
		c.DHT = scheduler.Time(10 * time.Millisecond)
	}
	if c.UpstreamLatency == 0 {
		c.UpstreamLatency = scheduler.Time(30 * time.Millisecond)
	}
	if c.Limit == 0 {
		c.Limit = 1200 * second
	}
	return c
}

func (n Node) withDefaults() Node {
	if n.Uplink == 0 {
		n.Uplink = 100 * blob.MiB
	}
	if n.Downlink == 0 {
		n.Downlink = 50 * blob.MiB
	}
	return n
}

// honest reports whether the node never sends anything wrong, as far as it knows.
func (n Node) honest() bool { return n.Lies == 0 && !n.LiesChain && n.Registry != RegistryLies }
