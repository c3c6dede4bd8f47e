package discovery

import (
	"context"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
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
	lookupTimeout    = 15 * time.Second
	placeTimeout     = 5 * time.Second
	// loneliness is how long announcing waits before it looks whether the DHT knows anybody.
	loneliness = 500 * time.Millisecond
)

// hashOf is the key's name in the DHT, and contentOf the form in which the library wants it.
func hashOf(key blob.Digest) multihash.Multihash {
	hash, err := multihash.Encode(key[:], multihash.SHA2_256)
	if err != nil {
		panic("discovery: a SHA-256 has no multihash") // its code and length are constant
	}
	return hash
}

func contentOf(key blob.Digest) cid.Cid { return cid.NewCidV1(cid.Raw, hashOf(key)) }

func placeOf(key blob.Digest) kb.ID { return kb.ConvertKey(string(hashOf(key))) }

// announce is one worker: it announces keys as they become due, until ctx ends.
func (d *Discovery) announce(ctx context.Context) {
	for {
		wait := loneliness
		if d.dht.RoutingTable().Size() > 0 {
			key, ok, until := d.ledger.next(time.Now())
			if ok {
				if d.pace.Wait(ctx) != nil {
					return
				}
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
			if !d.pause(ctx, loneliness) {
				return
			}
			d.ledger.signal()
		}
	}
}

// announceAround looks up who should know of the key and places it there, along with all keys
// that belong to the same peers.
func (d *Discovery) announceAround(ctx context.Context, key blob.Digest) {
	lookup, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	peers, err := d.dht.GetClosestPeers(lookup, string(hashOf(key)))
	if err != nil || len(peers) == 0 {
		d.log.DebugContext(ctx, "looking up who keeps a key failed", "key", key.Short(), "error", err)
		d.ledger.failed(time.Now(), key)
		return
	}
	keys := append(d.ledger.group(key, peers, len(peers) < d.dht.BucketSize(), time.Now()), key)
	for _, k := range keys {
		d.keepOwn(ctx, k)
	}
	if d.place(ctx, peers, keys) == 0 {
		d.ledger.failed(time.Now(), keys...)
		return
	}
	d.ledger.announced(time.Now(), keys...)
}

// keepOwn places the record at this node itself, for those who ask here.
func (d *Discovery) keepOwn(ctx context.Context, key blob.Digest) {
	if err := d.dht.Provide(ctx, contentOf(key), false); err != nil {
		d.log.DebugContext(ctx, "keeping a provider record failed", "key", key.Short(), "error", err)
	}
}

// place tells the peers of the keys and returns how many of them took all.
func (d *Discovery) place(ctx context.Context, peers []peer.ID, keys []blob.Digest) int {
	self := peer.AddrInfo{ID: d.host.ID(), Addrs: d.host.Addrs()}
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
func (d *Discovery) pause(ctx context.Context, long time.Duration) bool {
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
