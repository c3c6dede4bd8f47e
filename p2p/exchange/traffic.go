package exchange

import (
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/pkg/blob"
)

// metersKept is how many peers without a session are remembered.
const metersKept = 4096

// A meter counts the bytes of a peer's streams, messages included, since the exchange began.
type meter struct{ in, out atomic.Int64 }

// Traffic is how many bytes came from the peer and went to it since the exchange began,
// messages included. Of peers without a session only the latest few thousand are known.
func (e *Exchange) Traffic(p peer.ID) (in, out blob.ByteCount) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if here := e.peers[p]; here != nil {
		return here.meter.totals()
	}
	if m, ok := e.gone.Peek(p); ok {
		return m.totals()
	}
	return 0, 0
}

func (m *meter) totals() (in, out blob.ByteCount) {
	return blob.ByteCount(m.in.Load()), blob.ByteCount(m.out.Load())
}
