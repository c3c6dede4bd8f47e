package scheduler_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

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
	start.Blob, start.Size = c.blob, cmp.Or(start.Size, blob.ByteCount(crowdChunks)*blob.MinChunk)
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

// begun is a crowd of so many peers that hold the last chunk when a chain comes, but some. The node has every
// second chunk, or none. It returns what is asked.
func begun(peers int, scattered bool, but ...scheduler.PeerID) (*crowd, []scheduler.AskPeer) {
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
		if !slices.Contains(but, p) {
			asks = append(asks, c.step(scheduler.PeerHas{Blob: c.blob, Peer: p, Chunks: set(crowdChunks - 1)})...)
		}
	}
	return c, asks
}

// whoIsAsked are those of whom the last chunk can be asked: each time whoever was asked does not have it.
func whoIsAsked(t *testing.T, peers int, scattered bool) (who []scheduler.PeerID) {
	t.Helper()
	for {
		_, asks := begun(peers, scattered, who...)
		if len(asks) == 0 {
			return who
		}
		if len(asks) > 1 || asks[0].Chunk != crowdChunks-1 {
			t.Fatalf("asked: %v, want the last chunk of one", asks)
		}
		who = append(who, asks[0].Peer)
	}
}

// A node of a crowd that holds scattered chunks asks its fingers: who stands 1, 2, 4, 8, 16 and 32 before it
// on the ring.
func TestScatteredAsksFingers(t *testing.T) {
	const crowded = 32
	if who := whoIsAsked(t, crowded, true); len(who) != 6 {
		t.Errorf("of %d peers %v are asked, want six", crowded, who)
	}
	if who := whoIsAsked(t, crowded-1, true); len(who) != 1 {
		t.Errorf("of %d peers %v are asked, want the nearest alone", crowded-1, who)
	}
	if who := whoIsAsked(t, crowded, false); len(who) != 1 {
		t.Errorf("a node that has nothing asks %v, want the nearest alone", who)
	}
}

// What a node of a crowd may hand on it tells those at once whose finger it is, while chunks lie scattered; else
// the next three.
func TestFingersTellAtOnce(t *testing.T) {
	for _, x := range []struct {
		peers     int
		scattered bool
		want      int
	}{{32, true, 7}, {32, false, 3}, {31, true, 3}} {
		c, asks := begun(x.peers, x.scattered)
		told := 0
		for _, i := range []blob.ChunkIndex{crowdChunks - 1, crowdChunks - 2} { // of the first all are told
			c.now += 10 * scheduler.Time(time.Millisecond)
			c.step(scheduler.PeerHas{Blob: c.blob, Peer: asks[0].Peer, Chunks: set(i)})
			c.step(scheduler.ChunkArrived{Blob: c.blob, Peer: asks[0].Peer, Chunk: i})
			told = 0
			for _, action := range c.m.Step(c.now, scheduler.LinkChecked{
				Blob: c.blob, Chunk: i, Supplier: c.peers[0], Holds: true, Verified: []blob.ChunkIndex{i},
			}) {
				if tell, ok := action.(scheduler.TellHave); ok {
					told += len(tell.Peers)
				}
			}
		}
		if told != x.want {
			t.Errorf("%d of %d peers are told at once, want %d (scattered: %v)", told, x.peers, x.want, x.scattered)
		}
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

// In a crowd an honest reader may have no place for a node for long. While others deliver, what it has is waited
// for: for 12 s, and as long as a busy node takes to serve all, 9 s. Then it is read.
func TestBusyReadersOfACrowdAreWaitedFor(t *testing.T) {
	const peers, chunks, tick = 200, 350, scheduler.Time(100 * time.Millisecond)
	c := newCrowd(peers, scheduler.DownloadStarted{Upstream: true, Size: chunks * blob.MinChunk})
	has := make([]blob.Bitset, peers)
	for i := range has {
		has[i] = blob.NewBitset(chunks)
	}
	has[0].Add(0) // this one is busy; the next three deliver
	for i := blob.ChunkIndex(1); i < chunks; i++ {
		has[1+i%3].Add(i)
	}
	var events, answers []scheduler.Event
	for i, p := range c.peers {
		events = append(events, scheduler.PeerHas{Blob: c.blob, Peer: p, Chunks: has[i]})
	}
	readAt := scheduler.Time(0)
	for readAt == 0 && c.now < scheduler.Time(time.Minute) {
		for len(events) > 0 {
			ev := events[0]
			events = events[1:]
			for _, action := range c.m.Step(c.now, ev) {
				if _, ok := action.(scheduler.ReadUpstream); ok {
					readAt = c.now
				}
				if a, ok := action.(scheduler.AskPeer); ok && a.Chunk == 0 {
					events = append(events, scheduler.PeerRefused(a))
				} else if ok {
					answers = append(answers, scheduler.ChunkArrived(a))
				}
			}
		}
		c.now += tick
		events = append(events, scheduler.Ticked{})
		if len(answers) > 0 {
			events, answers = append(events, answers[0]), answers[1:]
		}
	}
	if at := time.Duration(readAt); at < 21*time.Second || at > 32*time.Second {
		t.Errorf("what a busy peer has is read after %s, want 21 s and what a rank waits", at)
	}
}

// Whoever was turned away and does not come back keeps a node from reading no longer than for moments, though
// others always have something waiting.
func TestWhoStaysAwayHoldsUpNoReads(t *testing.T) {
	const peers = 100
	start := scheduler.DownloadStarted{Upstream: true, FromRegistry: set(0)}
	c := newCrowd(peers, start)
	var serving []scheduler.Serve
	read := false
	var step func(ev scheduler.Event)
	step = func(ev scheduler.Event) {
		for _, action := range c.m.Step(c.now, ev) {
			if serve, ok := action.(scheduler.Serve); ok {
				serving = append(serving, serve)
			}
			if r, ok := action.(scheduler.ReadUpstream); ok {
				read = true
				step(scheduler.ReadEnded{Blob: r.Blob, Read: r.Read})
			}
		}
	}
	ask := func(p scheduler.PeerID) { step(scheduler.PeerAsked{Blob: c.blob, Peer: p, Chunk: 0}) }
	for _, p := range c.peers {
		step(scheduler.PeerHas{Blob: c.blob, Peer: p, Chunks: set()})
	}
	for _, p := range c.peers {
		ask(p)
	}
	const each = 10 * scheduler.Time(time.Millisecond)
	for read = false; !read && c.now < scheduler.Time(time.Minute); c.now += each {
		x := serving[0]
		serving = serving[1:]
		step(scheduler.UploadEnded(x))
		if slices.Contains(c.peers[:12], x.Peer) { // always asks, and leaves the queue short
			ask(x.Peer)
		}
		step(scheduler.Ticked{})
	}
	if took := time.Duration(c.now); took < 8*time.Second || took > 15*time.Second {
		t.Errorf("read after %s, want ten seconds after they were turned away", took)
	}
}
