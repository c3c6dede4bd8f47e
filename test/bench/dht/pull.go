package main

import (
	"context"
	"sync"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

// What pkg/engine and the scheduler do when a download starts: announce the image, look both
// keys of each layer up, and again after pauses that grow while there are few peers.
const (
	findLimit  = 40
	enough     = 8
	firstPause = 33 * time.Millisecond
	pauseGrows = 3
	pauseUpTo  = 30 * time.Second
)

// A pull is one host that pulls one image, as far as finding others goes. The layers share
// whom they know, as siblings do.
type pull struct {
	host   host
	enough int

	mu    sync.Mutex
	known map[string]int64 // when each participant was learned of
}

// run returns when enough others are known, or when ctx ends.
func (p *pull) run(ctx context.Context, image blob.Digest, layers []blob.Digest) {
	p.host.discovery.Provide(image)
	var wg sync.WaitGroup
	for _, layer := range layers {
		wg.Go(func() {
			for next := firstPause; ; next = min(next*pauseGrows, pauseUpTo) {
				p.look(ctx, image, layer)
				if p.hasEnough() || !pause(ctx, next) || p.hasEnough() {
					return
				}
			}
		})
	}
	wg.Wait()
}

func (p *pull) look(ctx context.Context, keys ...blob.Digest) {
	var wg sync.WaitGroup
	for _, key := range keys {
		wg.Go(func() {
			for found := range p.host.discovery.Find(ctx, key, findLimit) {
				p.learn(string(found.ID))
			}
		})
	}
	wg.Wait()
}

func (p *pull) learn(id string) {
	now := time.Now().UnixNano()
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.known[id]; !ok {
		p.known[id] = now
	}
}

func (p *pull) hasEnough() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.known) >= p.enough
}

func (p *pull) sightings() []Sighting {
	out := make([]Sighting, 0, len(p.known))
	for id, at := range p.known {
		out = append(out, Sighting{id, at})
	}
	return out
}

// pause waits and reports whether there is still time.
func pause(ctx context.Context, long time.Duration) bool {
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
