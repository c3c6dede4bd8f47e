package sim

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// A listener keeps what the Machines were told, by time.
type listener struct{ lines []string }

func (l *listener) listen(c *Config) { c.Trace = func(line string) { l.lines = append(l.lines, line) } }

// heard are the times at which a node was told something.
func (l *listener) heard(node *node, what string) (at []string) {
	for _, line := range l.lines {
		when, rest, _ := strings.Cut(line, " ")
		if strings.HasPrefix(rest, string(node.id)+" < "+what) {
			at = append(at, when)
		}
	}
	return at
}

// until plays what happens up to a time.
func (st *stage) until(t scheduler.Time) {
	w := st.w
	for {
		at, inFabric := w.fabric.next(), true
		if w.queue.len() > 0 && w.queue.items[0].at <= at {
			at, inFabric = w.queue.items[0].at, false
		}
		if at > t {
			w.now = t
			return
		}
		w.now = at
		if inFabric {
			w.fabric.advance(w, at)
		} else {
			w.queue.pop().what.happen(w)
		}
	}
}

func mustHear(t *testing.T, l *listener, n *node, what string, want ...string) {
	t.Helper()
	if got := l.heard(n, what); !slices.Equal(got, want) {
		t.Errorf("%s heard %q at %v, want %v; all it heard:\n%s", n.id, what, got, want, strings.Join(l.lines, "\n"))
	}
}

// TestChunkTakesItsTime: an ask takes a latency, a chunk its time on the narrower link and a
// latency, and two chunks of one session follow each other.
func TestChunkTakesItsTime(t *testing.T) {
	var l listener
	st := newStage(t, l.listen, func(c *Config) { c.Nodes[0].Up, c.Nodes[1].Down = 4*blob.MinChunk, 2*blob.MinChunk })
	st.d.write(2, 0, fromRegistry)
	st.asked(0, 2)
	st.serve(0, 2)
	st.until(10 * second)
	mustHear(t, &l, st.a, "PeerAsked", "0.000500s", "0.000500s")
	mustHear(t, &l, st.a, "UploadEnded", "0.501000s", "1.001000s")
	mustHear(t, &l, st.b, "ChunkArrived", "0.501500s", "1.001500s")
	if d := st.b.disks[0]; d.asks != 0 || st.a.uploads != 0 || st.a.waits != 0 || d.fromPeers != 2*blob.MinChunk {
		t.Errorf("%d asks, %d uploads, %d waits are left; %d bytes came", d.asks, st.a.uploads, st.a.waits, d.fromPeers)
	}
}

// TestCancelInTime: a cancel takes back a chunk that was not begun, and not one that was; both
// asks have one answer.
func TestCancelInTime(t *testing.T) {
	var l listener
	st := newStage(t, l.listen)
	st.d.write(2, 0, fromRegistry)
	b := st.asked(0, 2)
	st.serve(0, 2)
	for _, i := range []blob.ChunkIndex{0, 2} {
		st.b.perform(scheduler.CancelAsk{Blob: st.blob, Peer: st.a.id, Chunk: i})
	}
	st.until(second)
	mustHear(t, &l, st.a, "PeerCancelled", "0.001500s")
	mustHear(t, &l, st.b, "PeerRefused") // the answer to a cancel is the exchange's own
	if got := l.heard(st.b, "ChunkArrived"); len(got) != 1 || len(b.asked) != 0 || st.a.waits != 0 {
		t.Errorf("chunks arrived at %v; %d asks and %d waits are left", got, len(b.asked), st.a.waits)
	}
	if got := l.heard(st.a, "UploadEnded"); len(got) != 2 {
		t.Errorf("uploads ended at %v", got)
	}
}

// TestOldEndIsNotNews: of a session that the Machine ended it does not hear after the peer opened
// another one.
func TestOldEndIsNotNews(t *testing.T) {
	var l listener
	st := newStage(t, l.listen)
	st.until(millisecond)
	st.a.perform(scheduler.Disconnect{Blob: st.blob, Peer: st.b.id})
	st.b.disks[0].session(st.a).left(scheduler.FaultGone)
	st.w.join(st.b.disks[0], st.d)
	st.until(second)
	if left, joined := l.heard(st.a, "PeerLeft"), l.heard(st.a, "PeerJoined"); len(left) != 0 || len(joined) != 2 || st.d.heard != 1 {
		t.Errorf("joined at %v, left at %v, %d sessions", joined, left, st.d.heard)
	}
}

// TestReadIsCounted: the first byte comes after a while, chunks at the slowest of three rates, and
// what a cancelled read left on the wire is counted.
func TestReadIsCounted(t *testing.T) {
	var l listener
	st := newStage(t, l.listen, func(c *Config) { c.Upstream.PerConnection = 4 * blob.MinChunk })
	st.read(1, 2, 4)
	st.until(700 * millisecond)
	mustHear(t, &l, st.a, "ReadProgressed", "0.280000s", "0.530000s")
	st.a.perform(scheduler.CancelRead{Blob: st.blob, Read: 1})
	st.until(second)
	mustHear(t, &l, st.a, "ReadEnded", "0.700000s")
	sent := 2*blob.MinChunk + 17*4*blob.MinChunk/100 + inFlight
	if got := st.w.registry.sent; got < sent-2 || got > sent+2 {
		t.Errorf("the registry sent %d, want %d", got, sent)
	}
}

// TestNoRangeCosts: a part costs everything before it, and the Machine is told so.
func TestNoRangeCosts(t *testing.T) {
	var l listener
	st := newStage(t, l.listen, func(c *Config) { c.Upstream.NoRange = true })
	st.d.proven = false
	st.read(1, 4, 1)
	st.until(second)
	mustHear(t, &l, st.a, "UpstreamWhole", "0.030000s")
	if l := l.heard(st.a, "ReadProgressed"); len(l) != 1 || st.w.registry.sent != 5*blob.MinChunk {
		t.Errorf("progressed at %v; the registry sent %d", l, st.w.registry.sent)
	}
}

// TestAuditReplaces: an audit costs the registry a chunk, and puts it in the place of what was there.
func TestAuditReplaces(t *testing.T) {
	var l listener
	st := newStage(t, l.listen)
	st.d.cells[1].content = 5
	st.a.perform(scheduler.AuditChunk{Blob: st.blob, Chunk: 1})
	st.until(second)
	if c := st.d.cells[1]; c.origin != fromRegistry || c.content != 0 || st.w.registry.sent != blob.MinChunk || st.d.audits != 0 {
		t.Errorf("chunk is %+v, %d bytes sent, %d audits", c, st.w.registry.sent, st.d.audits)
	}
	if !strings.Contains(strings.Join(l.lines, "\n"), "ChunkAudited "+st.blob.Short()+" Chunk=1 Same=false") {
		t.Errorf("not told:\n%s", strings.Join(l.lines, "\n"))
	}
}

// TestOutageEndsReads: reads under way fail, and so do those that begin.
func TestOutageEndsReads(t *testing.T) {
	var l listener
	st := newStage(t, l.listen, func(c *Config) {
		c.Upstream.Outage = [2]scheduler.Time{32 * millisecond, second}
	})
	st.read(1, 2, 4)
	st.until(500 * millisecond)
	st.read(2, 2, 4)
	st.until(2 * second)
	mustHear(t, &l, st.a, "ReadEnded", "0.032000s", "0.530000s")
}

// TestHashingTakesCores: links are checked side by side on the cores there are, a prefix on one.
func TestHashingTakesCores(t *testing.T) {
	var l listener
	st := newStage(t, l.listen, func(c *Config) { c.HashRate, c.Scheduler.Hashers = 4*blob.MinChunk, 4 })
	st.d.claims[st.b.number] = &chain{}
	for i := blob.ChunkIndex(5); i < 8; i++ {
		st.d.write(i, 0, fromPeer)
		st.a.perform(scheduler.CheckLink{Blob: st.blob, Chunk: i, Supplier: st.b.id})
	}
	st.until(second)
	mustHear(t, &l, st.a, "LinkChecked", "0.250000s", "0.250000s", "0.500000s")
	st.a.perform(scheduler.HashPrefix{Blob: st.blob, First: 0, Through: 1})
	st.until(2 * second)
	mustHear(t, &l, st.a, "PrefixHashed", "1.500000s")
}

// TestDial: a first session on a connection takes a handshake more; who does not want the
// blob refuses; a dead process answers at once, a dead machine never.
func TestDial(t *testing.T) {
	var l listener
	st := newStage(t, l.listen)
	c := st.w.nodes[2]
	dial := func(p scheduler.PeerID) { st.a.perform(scheduler.Connect{Blob: st.blob, Peer: p}) }
	dial(c.id) // does not want the blob
	st.until(second)
	mustHear(t, &l, st.a, "PeerLeft", "0.002500s")
	c.disks[0].wanted = true
	dial(c.id)
	st.until(2 * second)
	mustHear(t, &l, c, "PeerJoined", "1.002000s")
	mustHear(t, &l, st.a, "PeerJoined", "0.000500s", "1.002500s")
	st.d.session(c).disconnect()
	st.until(3 * second)
	mustHear(t, &l, c, "PeerLeft", "2.000500s")
	dial(c.id)
	st.until(4 * second)
	mustHear(t, &l, c, "PeerJoined", "1.002000s", "3.000500s")
	crash{c}.happen(st.w)
	st.until(5 * second)
	dial(c.id)
	st.until(6 * second)
	c.spec.Silent = true
	dial(c.id)
	dial("nobody")
	st.until(8 * second)
	mustHear(t, &l, st.a, "PeerLeft", "0.002500s", "2.000000s", "4.000500s", "5.001000s", "7.000000s", "7.000000s")
}

// TestDeadMachineIsNoticedLate: nobody tells its peers.
func TestDeadMachineIsNoticedLate(t *testing.T) {
	var l listener
	st := newStage(t, l.listen, func(c *Config) { c.Nodes[1].Silent = true })
	crash{st.b}.happen(st.w)
	st.until(20 * second)
	mustHear(t, &l, st.a, "PeerLeft", "10.000000s")
}

// TestPartitionHoldsMessages: what is sent across a partition arrives after it, and the session
// breaks if it lasts.
func TestPartitionHoldsMessages(t *testing.T) {
	for _, c := range []struct {
		to          scheduler.Time
		asked, left []string
	}{
		{5 * second, []string{"5.000000s"}, nil},
		{20 * second, nil, []string{"11.000000s"}},
	} {
		t.Run(fmt.Sprint(seconds(c.to)), func(t *testing.T) {
			var l listener
			st := newStage(t, l.listen, func(cfg *Config) {
				cfg.Partitions = []Partition{{From: second, To: c.to, Nodes: []int{1, 2}}}
			})
			st.waits(0)
			st.serve(0)
			st.until(second)
			st.ask(2)
			st.until(30 * second)
			mustHear(t, &l, st.b, "PeerAsked", c.asked...)
			mustHear(t, &l, st.b, "PeerLeft", c.left...)
			mustHear(t, &l, st.a, "PeerLeft", c.left...)
		})
	}
}

// TestPartitionStopsChunks: a chunk on its way stands still, and goes on afterwards.
func TestPartitionStopsChunks(t *testing.T) {
	var l listener
	st := newStage(t, l.listen, func(c *Config) {
		c.Nodes[0].Up = blob.MinChunk
		c.Partitions = []Partition{{From: second / 2, To: 4 * second, Nodes: []int{1}}}
	})
	st.waits(0)
	st.serve(0)
	st.until(10 * second)
	mustHear(t, &l, st.a, "UploadEnded", "4.500000s")
}

// TestDHT: an announcement shows after a while, each node misses the same records always, and
// a lookup yields no more than its share of a crowd.
func TestDHT(t *testing.T) {
	w := newWorld(Config{Seed: 3, Nodes: make([]Node, 200), DHT: DHT{Missing: 0.25}}.withDefaults())
	key := blob.Digest{1}
	for _, n := range w.nodes {
		n.announce(scheduler.Announce{Key: key})
		n.announce(scheduler.Announce{Key: key})
	}
	if got := w.nodes[0].see(key, nil); len(got) > 0 {
		t.Fatalf("sees %v at once", got)
	}
	w.now = w.cfg.DHT.Publish
	seen := map[scheduler.PeerID]bool{}
	for range 200 {
		got := w.nodes[0].see(key, nil)
		if len(got) != perLookup {
			t.Fatalf("a lookup yields %d", len(got))
		}
		for _, p := range got {
			seen[p] = true
		}
	}
	if missed := 199 - len(seen); missed < 30 || missed > 70 || seen[w.nodes[0].id] {
		t.Errorf("misses %d records of 199", missed)
	}
}

// TestStallingChunkEndsTheSession: the exchange gives up on a peer that does not get on.
func TestStallingChunkEndsTheSession(t *testing.T) {
	var l listener
	st := newStage(t, l.listen)
	st.a.throttle = &link{}
	st.waits(0)
	st.serve(0)
	st.until(60 * second)
	mustHear(t, &l, st.b, "PeerLeft", "22.000000s")
	mustHear(t, &l, st.a, "UploadEnded", "22.000500s")
}

// TestClientGetsOnlyWhatItMay: R chunks from the front, all but the end.
func TestClientGetsOnlyWhatItMay(t *testing.T) {
	st := newStage(t)
	c := &st.d.client
	st.w.now = second
	c.ask(st.d)
	if c.front != 1 || c.first != second {
		t.Errorf("the client was given %d chunks, at %v", c.front, c.first)
	}
	st.d.cells[0].content, st.d.cells[1].content = 0, 3
	same := st.d.replace(0, 4)
	c.audited(st.d, 0, same)
	if !c.cut {
		t.Error("bytes that were given are others now, and the body goes on")
	}
	st = newStage(t)
	st.d.client.ask(st.d)
	for i := range st.d.n {
		st.d.write(i, 0, fromPeer)
	}
	if st.d.client.advance(st.d); st.d.client.front != 1 {
		t.Errorf("the client was given %d chunks before the proof", st.d.client.front)
	}
	if st.d.prove(); st.d.client.front != st.d.n || st.w.err != nil {
		t.Errorf("the client was given %d chunks after the proof: %v", st.d.client.front, st.w.err)
	}
}

// TestAskedAgainWhileItComes: a chunk that was cancelled too late and asked for again settles
// the second ask when it comes; the peer still owes an answer.
func TestAskedAgainWhileItComes(t *testing.T) {
	var l listener
	st := newStage(t, l.listen)
	d := st.b.disks[0]
	b := d.session(st.a)
	b.has.Add(0)
	ask := scheduler.AskPeer{Blob: st.blob, Peer: st.a.id, Chunk: 0}
	st.b.perform(ask)
	st.until(millisecond)
	st.serve(0)
	st.b.perform(scheduler.CancelAsk(ask))
	st.until(2 * millisecond)
	st.b.perform(ask)
	st.until(second)
	if len(l.heard(st.b, "ChunkArrived")) != 1 || d.asks != 0 || b.wanting() != 0 || st.a.waits != 1 {
		t.Fatalf("%d asks, %d wanted; the other side owes %d answers", d.asks, b.wanting(), st.a.waits)
	}
	st.a.perform(scheduler.RefuseBusy{Blob: st.blob, Peer: st.b.id, Chunk: 0})
	st.until(2 * second)
	mustHear(t, &l, st.b, "PeerRefused") // it is nothing to the Machine any more
	if st.a.waits != 0 || len(b.asked) != 0 {
		t.Errorf("%d waits and %d asks are left", st.a.waits, len(b.asked))
	}
}

// TestMoments: a look at the network shows no more than there is, and ends with everything.
func TestMoments(t *testing.T) {
	cfg := Config{Seed: 1, Images: [][]blob.ByteCount{{50 * blob.MiB}}, Nodes: make([]Node, 4), WatchEvery: second / 4}
	var seen []Moment
	cfg.Watch = func(m Moment) { seen = append(seen, m) }
	if _, err := Run(cfg); err != nil {
		t.Fatal(err)
	}
	var up, peers bool
	last := Moment{}
	for _, m := range seen {
		up, peers = up || m.Upstream > 0, peers || m.Peers > 0
		if m.Upstream > 4*defaultLink || m.Peers > 4*defaultLink || m.Median < last.Median || m.Least > m.Median || m.Median > m.Most || m.Servable > 1 {
			t.Errorf("a moment shows %+v after %+v", m, last)
		}
		last = m
	}
	if len(seen) < 10 || !up || !peers || last.Most < 0.9 {
		t.Errorf("%d moments, registry %v, peers %v, in the end %+v", len(seen), up, peers, last)
	}
}
