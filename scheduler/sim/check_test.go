package sim

import (
	"errors"
	"strings"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// idle is a machine that does nothing.
type idle struct{}

func (idle) Step(scheduler.Time, scheduler.Event) []scheduler.Action { return nil }
func (idle) Deadline() (scheduler.Time, bool)                        { return 0, false }

// A stage is two nodes in session about a blob of eight chunks. The first has chunk 0 as R, 1
// as Q, and was told that the second has chunks 2 to 7.
type stage struct {
	w    *world
	a, b *node
	d    *disk
	s    *session
	blob blob.Digest
}

func newStage(t *testing.T, changes ...func(*Config)) *stage {
	t.Helper()
	cfg := Config{
		Seed: 9, Replay: "play it so", Images: [][]blob.ByteCount{{8 * blob.MinChunk}}, Nodes: make([]Node, 3),
		Scheduler: scheduler.Config{Uploads: 2, UploadQueue: 64, AsksPerPeer: 2, AsksMax: 16, AsksAll: 20, Hashers: 1, Reads: 1, Neighbours: 32},
	}
	for i := range cfg.Nodes {
		cfg.Nodes[i].Start = never // nothing happens but what a test does
	}
	for _, change := range changes {
		change(&cfg)
	}
	w := newWorld(cfg.withDefaults())
	for _, n := range w.nodes {
		n.m = idle{}
	}
	st := &stage{w: w, a: w.nodes[0], b: w.nodes[1]}
	st.d = st.a.disks[0]
	st.d.wanted, st.b.disks[0].wanted = true, true
	st.blob = st.d.digest()
	w.join(st.d, st.b.disks[0])
	st.s = st.d.session(st.b)
	st.d.write(0, 0, fromRegistry)
	st.d.read.Add(0)
	st.d.write(1, 0, fromPeer)
	for i := blob.ChunkIndex(2); i < 8; i++ {
		st.s.has.Add(i)
	}
	if w.err != nil {
		t.Fatal(w.err)
	}
	return st
}

// second is one more blob at the first node.
func (st *stage) second() *disk {
	d := newDisk(st.a, 0)
	st.a.disks = append(st.a.disks, d)
	return d
}

// waits has the second node wait for chunks of the first.
func (st *stage) waits(chunks ...blob.ChunkIndex) {
	for _, i := range chunks {
		st.s.waits = append(st.s.waits, wait{chunk: i})
		st.a.waits++
	}
}

func (st *stage) ask(chunks ...blob.ChunkIndex) {
	for _, i := range chunks {
		st.a.perform(scheduler.AskPeer{Blob: st.blob, Peer: st.b.id, Chunk: i})
	}
}

// asked has the second node ask for chunks, which the first has and it knows of, and returns its
// session when the asks have come.
func (st *stage) asked(chunks ...blob.ChunkIndex) *session {
	b := st.b.disks[0].session(st.a)
	for _, i := range chunks {
		b.has.Add(i)
	}
	for _, i := range chunks {
		st.b.perform(scheduler.AskPeer{Blob: st.blob, Peer: st.a.id, Chunk: i})
	}
	st.until(millisecond)
	return b
}

func (st *stage) serve(chunks ...blob.ChunkIndex) {
	for _, i := range chunks {
		st.a.perform(scheduler.Serve{Blob: st.blob, Peer: st.b.id, Chunk: i})
	}
}

func (st *stage) read(id scheduler.ReadID, first, count blob.ChunkIndex) {
	st.a.perform(scheduler.ReadUpstream{Blob: st.blob, Read: id, First: first, Count: count})
}

func (st *stage) tellReading(spans ...scheduler.Span) {
	st.a.perform(scheduler.TellReading{Blob: st.blob, Peers: []scheduler.PeerID{st.b.id}, Spans: spans})
}

func (st *stage) tellHave(chunks blob.Bitset) {
	st.a.perform(scheduler.TellHave{Blob: st.blob, Peers: []scheduler.PeerID{st.b.id}, Chunks: chunks})
}

// TestForbiddenActions: what no Machine may do ends the run, with the seed and how to play it again.
func TestForbiddenActions(t *testing.T) {
	for _, c := range []struct {
		want string
		does func(st *stage)
	}{
		{"serves chunk 1, which is neither R nor V", func(st *stage) { st.waits(1); st.serve(1) }},
		{"answers n001 for chunk 0, which it does not wait for", func(st *stage) { st.serve(0) }},
		{"answers n001 for chunk 0 twice", func(st *stage) { st.waits(0, 0); st.serve(0, 0, 0) }},
		{"sends chunk 1, which is neither R nor V", func(st *stage) { st.a.sends(st.d, 1) }},
		{"sends wrong bytes as chunk 0", func(st *stage) { st.d.cells[0].content = 1; st.a.sends(st.d, 0) }},
		{"serves wrong bytes as chunk 0", func(st *stage) { st.d.cells[0].content = 1; st.waits(0); st.serve(0) }},
		{"answers n001 for chunk 5, which it does not wait for", func(st *stage) {
			st.a.perform(scheduler.RefuseBusy{Blob: st.blob, Peer: st.b.id, Chunk: 5})
		}},
		{"tells chunk 1, which is neither R nor V", func(st *stage) { st.tellHave(blob.FullBitset(8)) }},
		{"tells a set of 3 chunks, of 8", func(st *stage) { st.tellHave(blob.NewBitset(3)) }},
		{"tells 5 spans", func(st *stage) { st.tellReading(make([]scheduler.Span, 5)...) }},
		{"reads 9 chunks from 0 on", func(st *stage) { st.tellReading(scheduler.Span{Count: 9}) }},
		{"reads 1 chunks from 3 on", func(st *stage) {
			st.tellReading(scheduler.Span{First: 3, Count: 1}, scheduler.Span{First: 3, Count: 1})
		}},
		{"sends a chain", func(st *stage) { st.a.perform(scheduler.SendChain{Blob: st.blob}) }},
		{"asks n001 for chunk 0, which it does not have", func(st *stage) { st.ask(0) }},
		{"asks n001 for chunk 9 of 8", func(st *stage) { st.ask(9) }},
		{"asks n001 for chunk 2, which it asked of n001", func(st *stage) { st.ask(2, 2) }},
		{"asks n001 for chunk 1, which it has", func(st *stage) { st.s.has.Add(1); st.ask(1) }},
		{"asks n001 for more than 2 chunks", func(st *stage) { st.ask(2, 3, 4) }},
		{"asks n001 without a session", func(st *stage) { st.s.disconnect(); st.ask(2) }},
		{"asks for 000001182b06 after its end", func(st *stage) { st.a.perform(scheduler.Abandon{Blob: st.blob}); st.ask(2) }},
		{"cancels chunk 2", func(st *stage) {
			st.a.perform(scheduler.CancelAsk{Blob: st.blob, Peer: st.b.id, Chunk: 2})
		}},
		{"connects to itself", func(st *stage) { st.a.perform(scheduler.Connect{Blob: st.blob, Peer: st.a.id}) }},
		{"read 2 overlaps read 1", func(st *stage) { st.read(1, 2, 3); st.read(2, 4, 1) }},
		{"reads 3 chunks from 6 on, of 8", func(st *stage) { st.read(1, 6, 3) }},
		{"reads without a registry", func(st *stage) { st.a.spec.Registry = RegistryUnknown; st.read(1, 2, 1) }},
		{"reads for 000001182b06 after its release", func(st *stage) { st.a.perform(scheduler.Release{Blob: st.blob}); st.read(1, 2, 1) }},
		{"cancels read 1, which is over", func(st *stage) { st.a.perform(scheduler.CancelRead{Blob: st.blob, Read: 1}) }},
		{"audits chunk 8 of 8", func(st *stage) { st.a.perform(scheduler.AuditChunk{Blob: st.blob, Chunk: 8}) }},
		{"quarantines n001, which is honest: because", func(st *stage) {
			st.a.perform(scheduler.Quarantine{Peer: st.b.id, What: "because"})
		}},
		{"gives a client wrong bytes of chunk 0", func(st *stage) { st.d.cells[0].content = 1; st.d.client.ask(st.d) }},
		{"gives a client chunk 0, which it did not read, before the proof", func(st *stage) { st.d.read.Remove(0); st.d.client.ask(st.d) }},
		{"read 1 of 000001182b06 goes on at chunk 2 after its release", func(st *stage) {
			st.read(1, 2, 1)
			st.d.releasing = true
			st.until(second)
		}},
		{"releases wrong bytes of chunk 2", func(st *stage) { st.d.write(2, 1, fromPeer); st.d.prove() }},
		{"neither has blob 000001182b06 nor gave it up in the end", func(st *stage) {
			st.a.begun, st.a.spec.Registry = true, RegistryUnknown
			st.w.checkEnd()
		}},
		{"has no blob 000001182b06 in the end", func(st *stage) {
			st.a.begun = true
			st.a.perform(scheduler.Abandon{Blob: st.blob})
			st.w.checkEnd()
		}},
		{"has not answered n001 for chunk 0", func(st *stage) { st.waits(0); st.w.now = 301 * second; st.w.checkEnd() }},
	} {
		t.Run(c.want, func(t *testing.T) {
			st := newStage(t)
			c.does(st)
			mustBreak(t, st.w, c.want)
		})
	}
}

// TestLimits: no more may be under way than the Config says.
func TestLimits(t *testing.T) {
	for _, c := range []struct {
		want  string
		under func(st *stage)
	}{
		{"67 uploads at a time", func(st *stage) { st.a.uploads = 67 }},
		{"lets 131 asks wait", func(st *stage) { st.a.waits = 131 }},
		{"17 asks", func(st *stage) { st.d.asks = 17 }},
		{"3 reads", func(st *stage) { st.read(1, 0, 1); st.read(2, 1, 1); st.read(3, 2, 1) }},
		{"9 audits", func(st *stage) {
			for range 9 {
				st.a.perform(scheduler.AuditChunk{Blob: st.blob, Chunk: 1})
			}
		}},
		{"checks 2 links", func(st *stage) { st.d.checks = 2 }},
		{"65 sessions", func(st *stage) { st.d.heard = 65 }},
		{"21 asks for all blobs", func(st *stage) { st.d.asks, st.second().asks = 16, 5 }},
		{"4 reads of all blobs", func(st *stage) { st.d.reads, st.second().reads = make([]*reading, 2), make([]*reading, 2) }},
	} {
		t.Run(c.want, func(t *testing.T) {
			st := newStage(t)
			c.under(st)
			st.a.checkLimits()
			mustBreak(t, st.w, c.want)
		})
	}
}

// full is a machine that turns everybody away.
type full struct{ idle }

func (full) Step(_ scheduler.Time, ev scheduler.Event) []scheduler.Action {
	if e, ok := ev.(scheduler.PeerJoined); ok {
		return []scheduler.Action{scheduler.Disconnect{Blob: e.Blob, Peer: e.Peer}}
	}
	return nil
}

// TestTurnedAwayDoesNotCount: a session that is turned away at once is none of a node's sessions; one
// more than there is room for is.
func TestTurnedAwayDoesNotCount(t *testing.T) {
	for _, m := range []machine{full{}, idle{}} {
		st := newStage(t)
		st.a.m = m
		st.d.heard = st.w.limits.sessions
		third := st.w.nodes[2].disks[0]
		third.wanted = true
		st.w.join(third, st.d)
		if m == (full{}) && (st.w.err != nil || st.d.heard != st.w.limits.sessions) {
			t.Errorf("a node that turns one away has %d sessions: %v", st.d.heard, st.w.err)
		} else if m == (idle{}) {
			mustBreak(t, st.w, "65 sessions about")
		}
	}
}

// hasty is a machine that wants to be ticked at once, always.
type hasty struct{ idle }

func (hasty) Deadline() (scheduler.Time, bool) { return 5, true }

// TestTicksMoveOn: a Machine that was ticked wants its next tick later.
func TestTicksMoveOn(t *testing.T) {
	st := newStage(t)
	st.a.m = hasty{}
	st.a.step(scheduler.MembersCounted{})
	if st.w.err != nil {
		t.Fatal(st.w.err)
	}
	st.until(second)
	mustBreak(t, st.w, "wants a tick at 0.000000s, which is not in the future")
}

func mustBreak(t *testing.T, w *world, want string) {
	t.Helper()
	if !errors.Is(w.err, ErrInvariant) {
		t.Fatalf("the run ended with %v, want %q", w.err, want)
	}
	for _, part := range []string{want, "seed 9", "n000", "play it so"} {
		if !strings.Contains(w.err.Error(), part) {
			t.Errorf("%q does not say %q", w.err, part)
		}
	}
}
