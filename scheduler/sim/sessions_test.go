package sim

import (
	"fmt"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// TestSeedersTakeNoMoreRoom: a node accepts twice as many sessions as it opens and no more, whoever
// comes. Those who weigh more than every member that still wants something count as readers,
// though they have everything; the places of others must not come on top.
func TestSeedersTakeNoMoreRoom(t *testing.T) {
	const neighbours, chunks = 32, 64
	d := blob.Digest{1}
	self := scheduler.PeerID("self")
	for k := 0; weight(d, self)>>62 != 1; k++ { // a quarter to a half of all names weigh less
		self = scheduler.PeerID(fmt.Sprint("self", k))
	}
	m := scheduler.New(scheduler.Config{Self: self, Neighbours: neighbours})
	m.Step(0, scheduler.MembersCounted{Members: 1000})
	m.Step(0, scheduler.DownloadStarted{Blob: d, Size: chunks * blob.MinChunk, Upstream: true})
	own, open := weight(d, self), map[scheduler.PeerID]bool{}
	join := func(id scheduler.PeerID) {
		open[id] = true
		for _, a := range m.Step(0, scheduler.PeerJoined{Blob: d, Peer: id}) {
			if gone, ok := a.(scheduler.Disconnect); ok {
				delete(open, gone.Peer)
			}
		}
		if open[id] {
			m.Step(0, scheduler.PeerHas{Blob: d, Peer: id, Chunks: blob.FullBitset(chunks)})
		}
	}
	for _, heavy := range []bool{true, false} {
		for k := range 4 * neighbours {
			if id := scheduler.PeerID(fmt.Sprint(heavy, k)); weight(d, id) > own == heavy {
				join(id)
			}
		}
	}
	if len(open) > 2*neighbours {
		t.Errorf("a node that opens %d sessions has %d", neighbours, len(open))
	}
}
