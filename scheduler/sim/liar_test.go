package sim

import (
	"slices"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// lie makes the second node a liar.
func lie(l Lie) func(*Config) { return func(c *Config) { c.Nodes[1].Lies = l } }

// TestGroundNamesComeFirst: names that are chosen by their weight are dialled before every other.
func TestGroundNamesComeFirst(t *testing.T) {
	st := newStage(t)
	ground := st.b.disks[0].groundNames()
	others := make([]scheduler.PeerID, 40)
	for k := range others {
		others[k] = scheduler.PeerID(rune('A' + k))
	}
	m := scheduler.New(scheduler.Config{Self: "n000"})
	m.Step(0, scheduler.MembersCounted{Members: 100})
	m.Step(0, scheduler.DownloadStarted{Blob: st.blob, Size: blob.GiB, Upstream: true})
	told := slices.Concat(others, ground)
	var dialled []scheduler.PeerID
	for _, a := range m.Step(0, scheduler.PeersFound{Blob: st.blob, Peers: told, Done: true}) {
		if c, ok := a.(scheduler.Connect); ok {
			dialled = append(dialled, c.Peer)
		}
	}
	if !slices.Equal(dialled, ground) {
		t.Errorf("dials %v, want %v", dialled, ground)
	}
}

// TestFalseClaimsMoveOn: claims are well formed, one run each, others at each beat, and come by
// every run of the layer.
func TestFalseClaimsMoveOn(t *testing.T) {
	for _, size := range []blob.ByteCount{0, 100, 2 * blob.MiB, 3*blob.MiB + 1, 100 * blob.MiB, blob.GiB} {
		w := newWorld(Config{Images: [][]blob.ByteCount{{size}}, Nodes: make([]Node, 1)}.withDefaults())
		n := w.nodes[0]
		d := n.disks[0]
		seen := blob.NewBitset(d.n)
		for beat := range int(d.n) {
			spans := d.falseClaims(beat)
			n.checkReading(d, scheduler.TellReading{Spans: spans})
			for _, s := range spans {
				seen.Add(s.First)
			}
			if d.n > scheduler.MaxSpans*oneRun && slices.Equal(spans, d.falseClaims(beat+1)) {
				t.Errorf("%d bytes: claims %v at beat %d and after it", size, spans, beat)
			}
		}
		if w.err != nil {
			t.Errorf("%d bytes: %v", size, w.err)
		}
		if got, want := seen.Count(), max(1, d.n/oneRun); got < want {
			t.Errorf("%d bytes: %d runs were claimed, of %d", size, got, want)
		}
	}
}

// TestClaimsAhead: who says that it reads a run hears that what comes behind its next chunk is taken.
func TestClaimsAhead(t *testing.T) {
	var l listener
	st := newStage(t, l.listen, lie(ClaimsAhead))
	st.tellReading(scheduler.Span{First: 3, Count: 2})
	st.tellReading() // nothing, which nobody can run ahead of
	st.tellReading(scheduler.Span{First: 7, Count: 1})
	st.until(second)
	mustHear(t, &l, st.a, "PeerReads "+st.blob.Short()+" Peer=n001 Spans=[{4 4}]", "0.001000s")
	mustHear(t, &l, st.a, "PeerReads", "0.001000s")
}

// TestNearlyHave: it has all but one chunk, and serves one ask in twenty, with the right bytes.
func TestNearlyHave(t *testing.T) {
	var l listener
	st := newStage(t, l.listen, lie(NearlyHave))
	st.until(second)
	mustHear(t, &l, st.a, "PeerHas "+st.blob.Short()+" Peer=n001 Chunks={0 2-7}", "0.000500s")
	for k := range 40 {
		st.ask(3)
		st.until(scheduler.Time(k+2) * second)
		if st.d.cells[3].content != 0 {
			t.Fatal("it serves wrong bytes")
		}
		st.d.lose(3)
	}
	if busy, came := len(l.heard(st.a, "PeerRefused")), len(l.heard(st.a, "ChunkArrived")); busy != 38 || came != 2 {
		t.Errorf("%d asks were refused and %d served", busy, came)
	}
}

// TestAskFlood: it asks for more than is let wait, and what it is sent stands still until the
// session is given up.
func TestAskFlood(t *testing.T) {
	var l listener
	st := newStage(t, l.listen, lie(AskFlood))
	theirs := st.b.disks[0].session(st.a)
	for i := range st.d.n {
		theirs.has.Add(i)
	}
	st.b.beginToLie()
	st.until(1500 * millisecond)
	if got := len(l.heard(st.a, "PeerAsked")); got < 4 {
		t.Fatalf("it asked %d times", got)
	}
	st.waits(0)
	st.serve(0)
	st.until(60 * second)
	mustHear(t, &l, st.a, "UploadEnded", "23.500500s")
	mustHear(t, &l, st.a, "PeerLeft", "23.500500s")
}
