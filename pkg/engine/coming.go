package engine

import (
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// A chunk that is being written cannot come from elsewhere. One that has stood still for
// standsFor, or that after so long has not come at leastRate bytes a second on average, gives
// way: a peer that sends a byte now and then would hold its place for as long as one that is
// merely slow.
const (
	standsFor = 2 * time.Second
	leastRate = 64 * blob.KiB
)

// A coming is the chunk that a session is bringing. It is safe for concurrent use.
type coming struct {
	chunk atomic.Int64 // its index plus one; 0: none
	began atomic.Int64 // in nanoseconds since 1970
	moved atomic.Int64 // when its bytes last came, as began
	bytes atomic.Int64 // how many came
}

func (c *coming) begin(i blob.ChunkIndex) {
	now := time.Now().UnixNano()
	c.began.Store(now)
	c.moved.Store(now)
	c.bytes.Store(0)
	c.chunk.Store(int64(i) + 1)
}

func (c *coming) move(n int) {
	c.bytes.Add(int64(n))
	c.moved.Store(time.Now().UnixNano())
}

func (c *coming) end() { c.chunk.Store(0) }

// stands reports whether chunk i is coming and must give way.
func (c *coming) stands(i blob.ChunkIndex) bool {
	if c.chunk.Load() != int64(i)+1 {
		return false
	}
	still, whole := time.Since(time.Unix(0, c.moved.Load())), time.Since(time.Unix(0, c.began.Load()))
	return still > standsFor || whole > standsFor && float64(c.bytes.Load()) < float64(leastRate)*whole.Seconds()
}

// giveWay ends the sessions in which the chunk stands, now that it has come from elsewhere:
// the next time there is room for it.
func (e *Engine) giveWay(digest blob.Digest, i blob.ChunkIndex) {
	var peers []peer.ID
	e.mu.Lock()
	for id, s := range e.sessions {
		if id.blob == digest && s.coming.stands(i) {
			peers = append(peers, id.peer)
		}
	}
	e.mu.Unlock()
	for _, p := range peers {
		e.disconnect(scheduler.Disconnect{Blob: digest, Peer: scheduler.PeerID(p)})
	}
}
