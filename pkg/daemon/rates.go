package daemon

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/p2p"
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/meter"
)

// sampleEvery is how often peers' byte counts are turned into rates.
const sampleEvery = time.Second

// rates are how fast bytes move from and to each member. The zero value is ready, and
// safe for concurrent use.
type rates struct {
	mu    sync.Mutex
	peers map[peer.ID]*peerRate
}

type peerRate struct {
	in, out         meter.Meter
	lastIn, lastOut blob.ByteCount
}

// counter is what counts the bytes; p2p/exchange does.
type counter interface {
	Traffic(p peer.ID) (in, out blob.ByteCount)
}

// sample takes note of what moved since the last sample, and forgets who is not a member
// any more.
func (r *rates) sample(now time.Time, members []p2p.Member, bytes counter) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.peers
	r.peers = make(map[peer.ID]*peerRate, len(members))
	for _, m := range members {
		in, out := bytes.Traffic(m.ID)
		p := old[m.ID]
		if p == nil {
			p = &peerRate{}
		}
		p.in.Add(now, max(0, in-p.lastIn))
		p.out.Add(now, max(0, out-p.lastOut))
		p.lastIn, p.lastOut = in, out
		r.peers[m.ID] = p
	}
}

// of is the peer's rates in bytes a second.
func (r *rates) of(p peer.ID) (in, out int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rate := r.peers[p]
	if rate == nil {
		return 0, 0
	}
	now := time.Now()
	return rate.in.Rate(now), rate.out.Rate(now)
}
