package scheduler_test

import (
	"fmt"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// crowdChunks is how many chunks the blob of a crowd has.
const crowdChunks blob.ChunkIndex = 64

// A crowd is one node that downloads a blob among peers.
type crowd struct {
	blob  blob.Digest
	m     *scheduler.Machine
	now   scheduler.Time
	peers []scheduler.PeerID
}

func newCrowd(peers int, start scheduler.DownloadStarted) *crowd {
	c := &crowd{blob: blob.Digest{1}, m: scheduler.New(scheduler.Config{Self: "me", Seed: 1})}
	start.Blob, start.Size = c.blob, blob.ByteCount(crowdChunks)*blob.MinChunk
	c.step(scheduler.MembersCounted{Members: peers})
	c.step(start)
	for i := range peers {
		c.peers = append(c.peers, scheduler.PeerID(fmt.Sprintf("peer %d", i)))
		c.step(scheduler.PeerJoined{Blob: c.blob, Peer: c.peers[i]})
	}
	return c
}

// step returns what the node asks of peers.
func (c *crowd) step(ev scheduler.Event) (asks []scheduler.AskPeer) {
	for _, action := range c.m.Step(c.now, ev) {
		if ask, ok := action.(scheduler.AskPeer); ok {
			asks = append(asks, ask)
		}
	}
	return asks
}

func set(chunks ...blob.ChunkIndex) blob.Bitset {
	b := blob.NewBitset(crowdChunks)
	for _, i := range chunks {
		b.Add(i)
	}
	return b
}

// asksForLast has all peers but one hold the last chunk when a chain comes, and returns what is asked.
// The node has every second chunk, or none.
func asksForLast(peers int, but scheduler.PeerID, scattered bool) (*crowd, []scheduler.AskPeer) {
	start := scheduler.DownloadStarted{}
	if scattered {
		start.Quarantined = set()
		for i := blob.ChunkIndex(0); i < crowdChunks; i += 2 {
			start.Quarantined.Add(i)
		}
	}
	c := newCrowd(peers, start)
	c.step(scheduler.ChainArrived{Blob: c.blob, Peer: c.peers[0]})
	var asks []scheduler.AskPeer
	for _, p := range c.peers {
		if p != but {
			asks = append(asks, c.step(scheduler.PeerHas{Blob: c.blob, Peer: p, Chunks: set(crowdChunks - 1)})...)
		}
	}
	return c, asks
}

// What many members of a crowd have is asked of any of them, when the one before this node in the line
// lacks it, and of another when that one does not answer.
func TestWidespreadChunksAreAskedOfAnybody(t *testing.T) {
	const many = 32
	_, asks := asksForLast(many+1, "", true)
	if len(asks) != 1 {
		t.Fatalf("with the chunk at the nearest in the line: %v, want one ask", asks)
	}
	nearest := asks[0].Peer
	c, asks := asksForLast(many+1, nearest, true)
	if len(asks) != 1 || asks[0].Chunk != crowdChunks-1 {
		t.Fatalf("with the chunk at %d others: %v, want one ask", many, asks)
	}
	first := asks[0].Peer
	c.now += 200 * scheduler.Time(1e6)
	if asks = c.step(scheduler.Ticked{}); len(asks) != 1 || asks[0].Peer == first {
		t.Errorf("after 200 ms without an answer of %s: %v, want one ask of another", first, asks)
	}
	if _, asks = asksForLast(many, nearest, true); len(asks) != 0 {
		t.Errorf("with the chunk at %d others: %v, want no ask outside the line", many-1, asks)
	}
	if _, asks = asksForLast(many+1, nearest, false); len(asks) != 0 {
		t.Errorf("a node that has nothing asks %v, want no ask outside the line", asks)
	}
}

// A node of a crowd that has read nothing, while all others read, takes what nobody reads at once, whoever
// has the duty: that one has its part.
func TestIdleNodeReadsAtOnce(t *testing.T) {
	const peers = 40
	for unread := range crowdChunks {
		c := newCrowd(peers, scheduler.DownloadStarted{Upstream: true})
		rest := make([]blob.ChunkIndex, 0, crowdChunks)
		for i := range crowdChunks {
			if i != unread {
				rest = append(rest, i)
			}
		}
		read := false
		for i, p := range c.peers {
			has := set()
			if i == 0 {
				has = set(rest[peers:]...)
			}
			c.step(scheduler.PeerReads{Blob: c.blob, Peer: p, Spans: []scheduler.Span{{First: rest[i], Count: 1}}})
			for _, action := range c.m.Step(c.now, scheduler.PeerHas{Blob: c.blob, Peer: p, Chunks: has}) {
				if r, ok := action.(scheduler.ReadUpstream); ok {
					read = r.First == unread && r.Count == 1
				}
			}
		}
		if !read {
			t.Errorf("chunk %d, which nobody reads, is not read at once", unread)
		}
	}
}
