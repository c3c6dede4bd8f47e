package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
	"github.com/shoal-project/shoal/pkg/store"
	"github.com/shoal-project/shoal/pkg/wire"
	"github.com/shoal-project/shoal/scheduler"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

type violation struct{ error }

func (violation) Violation() bool { return true }

func TestWhoseFaultTheEndOfASessionIs(t *testing.T) {
	for _, c := range []struct {
		err  error
		want scheduler.Fault
	}{
		{nil, scheduler.FaultCancelled},
		{fmt.Errorf("open: %w", context.Canceled), scheduler.FaultCancelled},
		{fmt.Errorf("open: %w", ErrStopping), scheduler.FaultCancelled},
		{fmt.Errorf("open: %w", ErrRefused), scheduler.FaultGone},
		{fmt.Errorf("%w", ErrPeerLeft), scheduler.FaultGone},
		{fmt.Errorf("read: %w", violation{io.EOF}), scheduler.FaultMisbehaved},
		{fmt.Errorf("read: %w", violation{context.Canceled}), scheduler.FaultMisbehaved},
		{io.ErrUnexpectedEOF, scheduler.FaultTransient},
		{context.DeadlineExceeded, scheduler.FaultTransient},
	} {
		if got := sessionFault(c.err); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}

// idleEngine is an engine whose loop the test is, with one download.
func idleEngine(t *testing.T) (*Engine, *download, []byte) {
	t.Helper()
	st, err := store.Open(store.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	content, want := makeBlob(1 << 20)
	e := New(Config{Store: st, Upstream: upstreamOf(content), Log: discard()})
	t.Cleanup(func() {
		e.Close()
		_ = st.Close()
	})
	want.Source.Registry = ""
	d, err := e.ensure(want)
	if err != nil {
		t.Fatal(err)
	}
	next(t, e) // DownloadStarted: the Machine stays out of it
	return e, d, content
}

// next runs what the inbox has next, and returns what would be stepped through.
func next(t *testing.T, e *Engine) []scheduler.Event {
	t.Helper()
	(<-e.inbox)(t.Context())
	events := e.pending
	e.pending = nil
	return events
}

func TestOnlyTheBodysErrorsEndASession(t *testing.T) {
	e, d, content := idleEngine(t)
	chunk := content[:d.geometry.Length(0)]
	broken := errors.New("connection reset")
	refused := scheduler.PeerRefused{Blob: d.digest, Peer: "b", Chunk: 0}
	body := io.MultiReader(bytes.NewReader(chunk[:100]), errorReader{broken})
	if err := e.Chunk("b", d.digest, 0, body); !errors.Is(err, broken) {
		t.Errorf("a broken body: %v", err)
	}
	if got := next(t, e); len(got) != 1 || got[0] != refused {
		t.Errorf("events %v", got)
	}
	if err := e.Chunk("b", d.digest, 0, bytes.NewReader(chunk)); err != nil {
		t.Error(err)
	}
	if got := next(t, e); len(got) != 1 || got[0] != scheduler.ChunkArrived(refused) {
		t.Errorf("events %v", got)
	}
	if err := e.Chunk("b", d.digest, 0, bytes.NewReader(chunk)); err != nil {
		t.Errorf("a chunk that is here: %v", err)
	}
	if got := next(t, e); len(got) != 1 || got[0] != refused {
		t.Errorf("events %v", got)
	}
	_ = d.live().Close()
	if err := e.Chunk("b", d.digest, 1, bytes.NewReader(chunk)); err != nil {
		t.Errorf("a partial file that is closed: %v", err)
	}
	if got := next(t, e); len(got) != 1 {
		t.Errorf("events %v", got)
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

// chainOf is the blob's true chain.
func chainOf(t *testing.T, d *download, content []byte) []chain.State {
	t.Helper()
	inner := make([]chain.State, 0, d.geometry.Last())
	state := chain.IV()
	for i := range d.geometry.Last() {
		after, err := chain.Next(d.geometry, i, state, bytes.NewReader(content[d.geometry.Offset(i):d.geometry.Offset(i+1)]), nil)
		if err != nil {
			t.Fatal(err)
		}
		inner = append(inner, after)
		state = after
	}
	return inner
}

// A verdict about bytes that were replaced since must not reach the Machine: it would
// blame who sent the new ones, or the chain's supplier.
func TestVerdictsAboutFormerBytesAreNotReported(t *testing.T) {
	e, d, content := idleEngine(t)
	e.chainArrived("b", d.digest, wire.Chain{Inner: chainOf(t, d, content)})
	if got := next(t, e); len(got) != 1 {
		t.Fatalf("events %v", got)
	}
	last := d.geometry.Last()
	good := content[d.geometry.Offset(last):]
	bad := bytes.Clone(good)
	bad[0] ^= 1
	if err := d.live().WriteChunk(last, store.FromPeer, bytes.NewReader(bad)); err != nil {
		t.Fatal(err)
	}
	check := scheduler.CheckLink{Blob: d.digest, Chunk: last, Supplier: "b"}
	e.checkLink(t.Context(), check)
	verdict := <-e.inbox // about the bad bytes
	e.drop(d, last)
	if err := d.live().WriteChunk(last, store.FromPeer, bytes.NewReader(good)); err != nil {
		t.Fatal(err)
	}
	verdict(t.Context())
	if len(e.pending) > 0 {
		t.Fatalf("events %v", e.pending)
	}
	got := next(t, e)
	checked, ok := got[0].(scheduler.LinkChecked)
	if len(got) != 1 || !ok || !checked.Holds {
		t.Errorf("events %v", got)
	}
}

func TestVerdictOfAnEndedDownloadIsNotReported(t *testing.T) {
	e, d, content := idleEngine(t)
	e.chainArrived("b", d.digest, wire.Chain{Inner: chainOf(t, d, content)})
	next(t, e)
	if err := d.live().WriteChunk(0, store.FromPeer, bytes.NewReader(make([]byte, d.geometry.Length(0)))); err != nil {
		t.Fatal(err)
	}
	e.checkLink(t.Context(), scheduler.CheckLink{Blob: d.digest, Chunk: 0, Supplier: "b"})
	verdict := <-e.inbox
	e.abandon(scheduler.Abandon{Blob: d.digest, Why: scheduler.FaultCancelled})
	verdict(t.Context())
	if len(e.pending) > 0 {
		t.Errorf("events %v", e.pending)
	}
}

// A chain that is not kept is not reported: its links would all seem broken.
func TestClaimsAreBoundedAndStay(t *testing.T) {
	e, d, content := idleEngine(t)
	inner := chainOf(t, d, content)
	names := make([]string, scheduler.MaxChains+4)
	for i := range names {
		names[i] = fmt.Sprintf("peer %02d", i)
		e.chainArrived(scheduler.PeerID(names[i]), d.digest, wire.Chain{Inner: inner})
	}
	if got := len(e.inbox); got != scheduler.MaxChains {
		t.Errorf("%d chains were reported", got)
	}
	other := bytes.Clone(inner[0][:])
	other[0] ^= 1
	lie := append([]chain.State{chain.State(other)}, inner[1:]...)
	first := scheduler.PeerID(names[0])
	e.chainArrived(first, d.digest, wire.Chain{Inner: lie})
	if got := d.useClaim(first); got.After(0) != inner[0] {
		t.Error("a chain was changed under the checks")
	}
	for len(e.inbox) > 0 {
		next(t, e)
	}
	// Quarantine frees the places of chains that nobody uses.
	e.quarantine(scheduler.Quarantine{Peer: first, Blob: d.digest})
	e.quarantine(scheduler.Quarantine{Peer: scheduler.PeerID(names[1]), Blob: d.digest})
	if d.useClaim(first).IsZero() || !d.useClaim(scheduler.PeerID(names[1])).IsZero() {
		t.Error("quarantine took the chain in use, or left the other")
	}
	e.chainArrived("late", d.digest, wire.Chain{Inner: inner})
	if d.useClaim("late").IsZero() {
		t.Error("no place for the next chain")
	}
	// A supplier whose chain was dropped has no second one.
	e.dropChain(scheduler.DropChain{Blob: d.digest, Supplier: first})
	e.chainArrived(first, d.digest, wire.Chain{Inner: inner})
	if !d.useClaim(first).IsZero() {
		t.Error("a refuted supplier was believed again")
	}
}

// The peer opened the session that this node failed to open.
func TestFailedConnectDoesNotEndThePeersSession(t *testing.T) {
	e, d, _ := idleEngine(t)
	connect := scheduler.Connect{Blob: d.digest, Peer: "b"}
	e.notConnected(connect, io.ErrUnexpectedEOF)
	if len(e.pending) != 1 {
		t.Errorf("events %v", e.pending)
	}
	e.pending = nil
	e.Joined("b", d.digest)
	e.notConnected(connect, io.ErrUnexpectedEOF)
	if len(e.pending) != 0 {
		t.Errorf("events %v", e.pending)
	}
	e.Left("b", d.digest, nil)
	e.notConnected(connect, violation{io.ErrUnexpectedEOF})
	if len(e.pending) != 2 {
		t.Errorf("events %v", e.pending)
	}
	e.pending = nil
}

// Closing the connections of a peer takes time, which is not the loop's.
func TestQuarantineDoesNotBlockTheLoop(t *testing.T) {
	f := newFabric()
	n := f.node(t, "a", upstreamOf(), t.TempDir())
	blocked, free := make(chan struct{}), make(chan struct{})
	n.port.onBlock = func() { close(blocked); <-free }
	n.Violated("b", blob.Digest{}, errors.New("said nonsense"))
	<-blocked
	if err := n.Ping(deadline(t)); err != nil {
		t.Error(err)
	}
	close(free)
}

// Whatever a peer asks of a blob that is gone, it is answered.
func TestAskForAForgottenBlobIsAnswered(t *testing.T) {
	f := newFabric()
	n := f.node(t, "a", upstreamOf(), t.TempDir())
	sent := make(chan wire.Message, 1)
	n.net.sessions = recorder{port: n.port, sent: sent}
	d := blob.Digest(sha256.Sum256(nil))
	n.inLoop(func(context.Context) { n.serve(scheduler.Serve{Blob: d, Peer: "b", Chunk: 0}) })
	if m := <-sent; m != (wire.Busy{}) {
		t.Errorf("answered %v", m)
	}
}
