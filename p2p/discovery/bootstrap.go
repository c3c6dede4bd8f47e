package discovery

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/p2p/admission"
)

const (
	resolveTimeout = 5 * time.Second
	// dialsPerRound bounds the addresses tried in one round, dialsAtOnce those at one time.
	dialsPerRound = 32
	dialsAtOnce   = 8
	// enough is how many members a round looks for: several, so that nodes that start
	// together do not end up as islands of two.
	enough = 3
	// fewMembers is below which a node looks for more each round of Config.Meet, and sooner.
	fewMembers = 3
	saveEvery  = time.Minute
)

// keepInTouch finds members when there are none, meets others now and then so that islands
// grow together, and keeps the known peers on disk. It returns when ctx ends.
func (d *Discovery) keepInTouch(ctx context.Context) {
	known, err := loadKnown(d.config.DataDir)
	if err != nil {
		d.log.WarnContext(ctx, "the peers known last are not used", "error", err)
	}
	counts, stop := d.host.Watch()
	defer stop()
	save := time.NewTicker(saveEvery)
	defer save.Stop()
	defer d.save()
	wait := d.config.RetryFrom
	next := time.NewTimer(0)
	defer next.Stop()
	members := 0
	for {
		select {
		case <-ctx.Done():
			return
		case n, ok := <-counts:
			if !ok {
				return // the host is closed
			}
			if n == 0 && members > 0 {
				wait = d.config.RetryFrom
				next.Reset(jitter(wait))
			}
			members = n
			continue
		case <-save.C:
			d.save()
			continue
		case <-next.C:
		}
		d.round(ctx, known)
		switch n := d.host.Count(); {
		case n >= fewMembers:
			wait = d.config.RetryFrom
			next.Reset(jitter(d.config.Meet))
		case n > 0:
			wait = d.config.RetryFrom
			next.Reset(jitter(min(d.config.RetryUpTo/4, d.config.Meet)))
		default:
			if wait == d.config.RetryFrom { // the first of a row
				d.log.WarnContext(ctx, "no member answers", "sources", len(d.sources), "known", len(known))
			}
			next.Reset(jitter(wait))
			wait = min(2*wait, d.config.RetryUpTo)
		}
	}
}

// round dials candidates until it has met enough new members. With a few already, one will do.
func (d *Discovery) round(ctx context.Context, known []candidate) {
	want := enough
	if d.host.Count() >= fewMembers {
		want = 1
	}
	candidates := d.candidates(ctx)
	if d.host.Count() == 0 {
		candidates = append(candidates, known...)
		candidates = append(candidates, d.remembered()...)
	}
	rand.Shuffle(len(candidates), func(i, j int) { candidates[i], candidates[j] = candidates[j], candidates[i] }) //nolint:forbidigo // whom to dial first needs no seed
	candidates = candidates[:min(len(candidates), dialsPerRound)]
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	met := 0
	queue := make(chan candidate)
	var wg sync.WaitGroup
	for range min(dialsAtOnce, len(candidates)) {
		wg.Go(func() {
			for c := range queue {
				if !d.meet(ctx, c) {
					continue
				}
				mu.Lock()
				if met++; met >= want {
					cancel()
				}
				mu.Unlock()
			}
		})
	}
	for _, c := range candidates {
		select {
		case <-ctx.Done():
		case queue <- c:
		}
	}
	close(queue)
	wg.Wait()
	if met > 0 {
		d.dht.RefreshRoutingTable() // in the background; the result is of no interest
	}
}

// candidates asks every source what it stands for now.
func (d *Discovery) candidates(ctx context.Context) []candidate {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	lists := make([][]candidate, len(d.sources))
	limit := make(chan struct{}, dialsAtOnce)
	var wg sync.WaitGroup
	for i, s := range d.sources {
		wg.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			var err error
			if lists[i], err = s.resolve(ctx, d.config.Resolver); err != nil {
				d.log.DebugContext(ctx, "a bootstrap address was not found", "source", s.String(), "error", err)
			}
		})
	}
	wg.Wait()
	var all []candidate
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

// remembered are peers whose addresses this node still knows from when they were connected.
func (d *Discovery) remembered() []candidate {
	store := d.host.Host().Peerstore()
	var out []candidate
	for _, p := range store.PeersWithAddrs() {
		// It names some whose addresses have run out.
		if addrs := store.Addrs(p); p != d.host.ID() && len(addrs) > 0 && len(out) < maxKnown {
			out = append(out, candidate{id: p, addrs: addrs})
		}
	}
	return out
}

// meet dials the candidate and reports whether that made a new member.
func (d *Discovery) meet(ctx context.Context, c candidate) bool {
	network := d.host.Host().Network()
	if c.id != "" {
		if c.id == d.host.ID() || len(network.ConnsToPeer(c.id)) > 0 {
			return false
		}
		err := d.host.Connect(ctx, peer.AddrInfo{ID: c.id, Addrs: c.addrs})
		d.missed(ctx, c, err)
		return err == nil
	}
	for _, conn := range network.Conns() {
		if conn.RemoteMultiaddr().Equal(c.addrs[0]) {
			return false
		}
	}
	before := d.host.Count()
	_, err := d.host.Dial(ctx, c.addrs[0])
	d.missed(ctx, c, err)
	return err == nil && d.host.Count() > before
}

// missed tells of a contact that failed, loudly if the secret looks wrong while nobody else answers.
func (d *Discovery) missed(ctx context.Context, c candidate, err error) {
	stranger := errors.Is(err, admission.ErrOutsider) || errors.Is(err, admission.ErrRefused)
	switch {
	case err == nil, errors.Is(err, admission.ErrSelf), errors.Is(err, context.Canceled):
	case stranger && d.host.Count() == 0:
		d.log.WarnContext(ctx, "a first contact is not of this swarm; is the secret the same?", "address", c.addrs[0].String(), "error", err)
	default:
		d.log.DebugContext(ctx, "a first contact failed", "address", c.addrs[0].String(), "error", err)
	}
}

// save keeps the members of now for the next start.
func (d *Discovery) save() {
	if d.config.DataDir == "" {
		return
	}
	store := d.host.Host().Peerstore()
	var peers []peer.AddrInfo
	for _, m := range d.host.Members() {
		if info := store.PeerInfo(m.ID); len(info.Addrs) > 0 && len(peers) < maxKnown {
			peers = append(peers, info)
		}
	}
	if err := saveKnown(d.config.DataDir, peers); err != nil {
		d.log.Warn("the known peers are not kept", "error", err)
	}
}

// jitter is d, give or take a fifth, so that nodes that started together drift apart.
func jitter(d time.Duration) time.Duration {
	return d - d/5 + rand.N(2*d/5+1) //nolint:forbidigo // timing needs no seed
}
