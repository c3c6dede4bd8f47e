package scheduler

import (
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A candidate is a member of the swarm that somebody named.
type candidate struct {
	id     PeerID
	seed   uint64 // of its rendezvous hash for the blob
	weight uint64 // for the whole blob
	teller PeerID // who named it; empty: the DHT, or another layer's swarm
	since  Time   // when a session began to be opened
}

func newCandidate(d blob.Digest, id PeerID) candidate {
	seed := rendezvousSeed(d, id)
	return candidate{id: id, seed: seed, weight: rendezvous(seed, wholeBlob)}
}

// candidates are those to connect to, in no order that means anything.
type candidates struct {
	list []candidate
	at   map[PeerID]int // where in list
	from map[PeerID]int // how many of them each peer named
}

func newCandidates() candidates {
	return candidates{at: map[PeerID]int{}, from: map[PeerID]int{}}
}

func (c *candidates) has(id PeerID) bool {
	_, here := c.at[id]
	return here
}

func (c *candidates) add(x candidate) {
	c.at[x.id] = len(c.list)
	c.list = append(c.list, x)
	c.from[x.teller]++
}

func (c *candidates) drop(id PeerID) {
	if at, here := c.at[id]; here {
		c.take(at)
	}
}

// take removes one from its place in the list. The last one moves there.
func (c *candidates) take(at int) {
	last := len(c.list) - 1
	delete(c.at, c.list[at].id)
	if teller := c.list[at].teller; c.from[teller] > 1 {
		c.from[teller]--
	} else {
		delete(c.from, teller)
	}
	if at < last {
		c.list[at] = c.list[last]
		c.at[c.list[at].id] = at
	}
	c.list = c.list[:last]
}

// dropNamedBy forgets everybody whom a peer named.
func (c *candidates) dropNamedBy(teller PeerID) {
	for at, x := range slices.Backward(c.list) {
		if x.teller == teller {
			c.take(at)
		}
	}
}
