package discovery

import (
	"context"
	"sync"
	"time"

	kb "github.com/libp2p/go-libp2p-kbucket"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multihash"

	"github.com/shoal-project/shoal/pkg/blob"
)

const (
	// announcers is how many lookups for announcing run at once.
	announcers = 4
	// lookupsPerSecond bounds them over time.
	lookupsPerSecond = 20
	placeTimeout     = 5 * time.Second
	// loneliness is how long announcing waits before it looks whether the DHT knows anybody.
	loneliness = 500 * time.Millisecond
)

// hashOf is the key's name in the DHT.
func hashOf(key blob.Digest) multihash.Multihash {
	hash, err := multihash.Encode(key[:], multihash.SHA2_256)
	if err != nil {
		panic("discovery: a SHA-256 has no multihash") // its code and length are constant
	}
	return hash
}

func placeOf(key blob.Digest) kb.ID { return kb.ConvertKey(string(hashOf(key))) }

// announce is one worker: it announces keys as they become due, until ctx ends.
func (d *Discovery) announce(ctx context.Context) {
	for {
		wait := loneliness
		if d.dht.RoutingTable().Size() > 0 {
			if d.pace.Wait(ctx) != nil { // before a key is taken: a search may want it meanwhile
				return
			}
			key, ok, until := d.ledger.next(time.Now())
			if ok {
				d.announceAround(ctx, key)
				continue
			}
			wait = until
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		case <-d.ledger.wake:
			timer.Stop()
			if d.dht.RoutingTable().Size() > 0 {
				continue
			}
			// Nobody to tell. Leave the signal for when there is.
			if !pause(ctx, loneliness) {
				return
			}
			d.ledger.signal()
		}
	}
}

// announceAround looks up who should know of the key and places it there, along with all keys
// that belong to the same peers.
func (d *Discovery) announceAround(ctx context.Context, key blob.Digest) {
	s := newSearch(key, true)
	d.mu.Lock()
	d.searches[key] = s // whoever looks for it from now on shares this
	d.mu.Unlock()
	d.run(ctx, s)
}

// announced notes how an announcing walk ended. The closest peers that it found are told of
// other keys as well that belong to them.
func (d *Discovery) announced(ctx context.Context, key blob.Digest, w *walk, placed int) {
	if placed == 0 {
		d.log.DebugContext(ctx, "nobody keeps a record", "key", key.Short())
		d.ledger.failed(time.Now(), key)
		return
	}
	d.ledger.announced(time.Now(), key)
	if !w.done() {
		return // it did not get to the closest
	}
	peers := w.closest()
	others := d.ledger.group(key, peers, len(peers) < keepers, time.Now())
	if len(others) == 0 {
		return
	}
	if d.place(ctx, peers, others) == 0 {
		d.ledger.failed(time.Now(), others...)
		return
	}
	d.ledger.announced(time.Now(), others...)
}

// place tells the peers of the keys and returns how many of them took all.
func (d *Discovery) place(ctx context.Context, peers []peer.ID, keys []blob.Digest) int {
	self := selfOf(d.host)
	took := make([]bool, len(peers))
	var wg sync.WaitGroup
	for i, p := range peers {
		wg.Go(func() {
			for _, key := range keys {
				one, cancel := context.WithTimeout(ctx, placeTimeout)
				err := d.messenger.PutProviderAddrs(one, p, hashOf(key), self)
				cancel()
				if err != nil {
					d.log.DebugContext(ctx, "announcing to a peer failed", "peer", p.String(), "error", err)
					return
				}
			}
			took[i] = true
		})
	}
	wg.Wait()
	n := 0
	for _, ok := range took {
		if ok {
			n++
		}
	}
	return n
}

// pause waits and reports whether there is still something to do.
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
