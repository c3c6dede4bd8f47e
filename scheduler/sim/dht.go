package sim

import (
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// The dht holds the announcements of a run. They outlive their nodes.
type dht struct{ records map[blob.Digest][]record }

// A record says that a node takes part in a swarm.
type record struct {
	node    *node
	visible scheduler.Time // from then on
}

const (
	// perLookup is how many peers a lookup of one key yields at most.
	perLookup = 40
	// lateBy is how many times longer a late lookup takes.
	lateBy = 50
)

// announce has the node found under a key after a while.
func (n *node) announce(a scheduler.Announce) {
	w := n.w
	if w.dht.records == nil {
		w.dht.records = map[blob.Digest][]record{}
	}
	for _, r := range w.dht.records[a.Key] {
		if r.node == n {
			return
		}
	}
	w.dht.records[a.Key] = append(w.dht.records[a.Key], record{n, w.now + w.cfg.DHT.Publish})
}

// findPeers looks up both keys. What is found is what can be seen when the answer comes.
func (n *node) findPeers(a scheduler.FindPeers) {
	took := n.w.cfg.DHT.Lookup
	if n.w.cfg.DHT.Late > 0 && n.w.random.Float64() < n.w.cfg.DHT.Late {
		took *= lateBy
	}
	n.w.after(took, found{n, n.life, a})
}

// found means that a lookup answers.
type found struct {
	node   *node
	life   int
	lookup scheduler.FindPeers
}

func (e found) happen(w *world) {
	if e.node.life != e.life {
		return
	}
	var peers []scheduler.PeerID
	if !w.cfg.DHT.Off {
		peers = e.node.see(e.lookup.Blob, nil)
		if !e.lookup.Image.IsZero() {
			peers = e.node.see(e.lookup.Image, peers)
		}
	}
	e.node.step(scheduler.PeersFound{Blob: e.lookup.Blob, Peers: peers, Done: true})
}

// see appends a random choice of the peers that the node finds under a key.
func (n *node) see(key blob.Digest, peers []scheduler.PeerID) []scheduler.PeerID {
	w := n.w
	var seen []*node
	for _, r := range w.dht.records[key] {
		if r.node != n && r.visible <= w.now && !n.misses(r.node) {
			seen = append(seen, r.node)
		}
	}
	for k := range min(perLookup, len(seen)) {
		at := k + w.random.IntN(len(seen)-k)
		seen[k], seen[at] = seen[at], seen[k]
		peers = append(peers, seen[k].id)
	}
	return peers
}

// misses reports whether a node never sees the records of another.
func (n *node) misses(far *node) bool {
	if n.w.cfg.DHT.Missing <= 0 {
		return false
	}
	h := mix(mix(mix(n.w.cfg.Seed, uint64(n.number)), uint64(far.number)), 3)
	return float64(h>>11)/(1<<53) < n.w.cfg.DHT.Missing
}

// golden is the step of SplitMix64.
const golden uint64 = 0x9E3779B97F4A7C15

// mix is a hash of two words: SplitMix64's finalizer (Steele, Lea and Flood, 2014).
func mix(h, x uint64) uint64 {
	h = (h ^ x) + golden
	h = (h ^ h>>30) * 0xBF58476D1CE4E5B9
	h = (h ^ h>>27) * 0x94D049BB133111EB
	return h ^ h>>31
}
