package engine

import (
	"github.com/shoal-project/shoal/pkg/chain"
	"github.com/shoal-project/shoal/scheduler"
)

// claims are the chains that peers supplied for one blob: as many as the Machine considers, which
// does not say when it passes one over. A chain stays as it came until
// it is dropped: links must not be checked under two chains of one supplier. The zero
// value is ready; the download's mu guards it.
type claims struct {
	kept    map[scheduler.PeerID]*claim
	refuted map[scheduler.PeerID]bool
}

type claim struct {
	chain chain.Chain
	used  bool // a link was checked under it
}

// add keeps a peer's first chain and reports whether it did.
func (c *claims) add(from scheduler.PeerID, supplied chain.Chain) bool {
	if c.kept[from] != nil || c.refuted[from] || len(c.kept) >= scheduler.MaxChains || len(c.refuted) >= scheduler.MaxRefuted {
		return false
	}
	if c.kept == nil {
		c.kept = map[scheduler.PeerID]*claim{}
	}
	c.kept[from] = &claim{chain: supplied}
	return true
}

// use returns the peer's chain; zero if there is none.
func (c *claims) use(from scheduler.PeerID) chain.Chain {
	k := c.kept[from]
	if k == nil {
		return chain.Chain{}
	}
	k.used = true
	return k.chain
}

// drop forgets the peer's chain, and takes none from it any more.
func (c *claims) drop(from scheduler.PeerID) {
	delete(c.kept, from)
	if c.refuted == nil {
		c.refuted = map[scheduler.PeerID]bool{}
	}
	c.refuted[from] = true
}

// forsake forgets the chain of a peer in quarantine, unless it is the one in use.
func (c *claims) forsake(from scheduler.PeerID) {
	if k := c.kept[from]; k != nil && !k.used {
		delete(c.kept, from)
	}
}
