package daemon

import (
	"context"
	"iter"
	"slices"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/pkg/blob"
)

const (
	// announcedMost bounds the blobs and images that are announced: half of what
	// discovery takes, tags are the other.
	announcedMost = 4096
	// announcedAtStart bounds those of an earlier life, the latest used ones.
	announcedAtStart = 1024
)

// A dht is what an announcer announces to; p2p/discovery implements it.
type dht interface {
	Provide(key blob.Digest) bool
	Withdraw(key blob.Digest)
	Find(ctx context.Context, key blob.Digest, limit int) iter.Seq[peer.AddrInfo]
}

// An announcer is discovery as the engine wants it. It withdraws what is not here any
// more, and what was announced longest ago when there is too much: otherwise a node that
// lives long would fall silent. It is safe for concurrent use.
type announcer struct {
	dht  dht
	keys *lru.Cache[blob.Digest, struct{}]
}

func newAnnouncer(d dht, most int) (*announcer, error) {
	keys, err := lru.NewWithEvict(most, func(key blob.Digest, _ struct{}) { d.Withdraw(key) })
	if err != nil {
		return nil, err
	}
	return &announcer{dht: d, keys: keys}, nil
}

// Provide implements engine.Discovery.
func (a *announcer) Provide(key blob.Digest) bool {
	a.keys.Add(key, struct{}{})
	return a.dht.Provide(key)
}

// Find implements engine.Discovery.
func (a *announcer) Find(ctx context.Context, key blob.Digest, limit int) iter.Seq[peer.AddrInfo] {
	return a.dht.Find(ctx, key, limit)
}

// withdraw announces a key no longer.
func (a *announcer) withdraw(key blob.Digest) { a.keys.Remove(key) }

// sweep withdraws every key that is not here.
func (a *announcer) sweep(here func(blob.Digest) bool) {
	for _, key := range a.keys.Keys() {
		if !here(key) {
			a.keys.Remove(key)
		}
	}
}

// announceHeld announces the blobs of an earlier life: a node that was restarted is as
// good a seeder as before.
func (n *node) announceHeld(a *announcer) {
	var held []blob.Digest
	for _, l := range n.store.List() { // the latest used first
		if l.Proven && len(held) < announcedAtStart {
			held = append(held, l.Digest)
		}
	}
	for _, d := range slices.Backward(held) {
		a.Provide(d)
	}
}

// sweepAnnounced withdraws blobs that are not held here, and images of which
// neither the manifest nor a download is here.
func (n *node) sweepAnnounced(ctx context.Context, a *announcer) {
	here := map[blob.Digest]bool{}
	downloads, err := n.engine.Downloads(ctx)
	if err != nil {
		return // the engine stops: so does this
	}
	for _, d := range downloads {
		here[d.Blob] = true
		here[d.Image] = true
	}
	for _, l := range n.store.List() {
		here[l.Digest] = true
	}
	for _, l := range n.runtime.list() {
		here[l.Digest] = true
	}
	a.sweep(func(d blob.Digest) bool { return here[d] })
}
