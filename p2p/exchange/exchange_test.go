package exchange

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
	"github.com/shoal-project/shoal/pkg/wire"
)

const testSize = 10*blob.MinChunk + 100 // 11 chunks

func TestSession(t *testing.T) {
	a, b := pair(t, Config{})
	d, g := digestOf(1), geometryOf(t, testSize)
	accepted := make(chan blob.ByteCount, 1)
	b.accept = func(_ context.Context, p peer.ID, got blob.Digest, size blob.ByteCount) error {
		if p != a.ID() || got != d {
			t.Errorf("Accept of %s about %s", p, got)
		}
		accepted <- size
		return nil
	}
	a.connect(b, d, testSize)
	if size := <-accepted; size != testSize {
		t.Errorf("Accept saw %d bytes", size)
	}
	a.waitJoined(d)
	for _, n := range []struct{ from, to *node }{{a, b}, {b, a}} {
		for _, m := range []wire.Message{
			wire.Have{Chunks: setOf(11, 3, 10)},
			wire.Chain{Inner: slices.Repeat([]chain.State{{7}}, 10)},
			wire.Peers{Contacts: []wire.Contact{{Peer: "somebody", Addresses: [][]byte{{1}}}}},
			wire.Reading{Spans: []wire.Span{{First: 1, Count: 2}, {First: 9, Count: 2}}},
			wire.Ask{Chunk: 10},
			wire.Ask{Chunk: 3},
			wire.Ask{Chunk: 4},
		} {
			n.from.send(n.to, d, m)
			n.to.waitMessage(d, m)
		}
		for _, i := range []blob.ChunkIndex{10, 3} {
			if err := result(t, n.to.serve(n.from.ID(), d, g, i)); err != nil {
				t.Errorf("chunk %d: %v", i, err)
			}
			if got := n.from.waitChunk(d, i); !bytes.Equal(got.body, chunkOf(g, i)) {
				t.Errorf("chunk %d came as %d other bytes", i, len(got.body))
			}
		}
		n.to.send(n.from, d, wire.Busy{Chunk: 4})
		n.from.waitMessage(d, wire.Busy{Chunk: 4})
	}
	if a.Sessions() != 1 || b.Sessions() != 1 {
		t.Errorf("%d and %d sessions", a.Sessions(), b.Sessions())
	}
	a.Disconnect(b.ID(), d)
	if err := a.waitLeft(d); err != nil {
		t.Errorf("Left of who disconnected: %v", err)
	}
	if err := b.waitLeft(d); !errors.Is(err, ErrPeerClosed) {
		t.Errorf("Left of the other: %v", err)
	}
	checkTraffic(t, a, b)
}

// What one side wrote is what the other read, once the session is over at both.
func checkTraffic(t *testing.T, a, b *node) {
	t.Helper()
	aIn, aOut := a.Traffic(b.ID())
	bIn, bOut := b.Traffic(a.ID())
	if aIn != bOut || aOut != bIn || aIn < blob.MinChunk || aOut < blob.MinChunk {
		t.Errorf("one side counts %d in and %d out, the other %d in and %d out", aIn, aOut, bIn, bOut)
	}
	if in, out := a.Traffic("nobody"); in != 0 || out != 0 {
		t.Errorf("traffic with nobody: %d, %d", in, out)
	}
}

func TestConfigValidate(t *testing.T) {
	if err := (Config{}).Validate(); err != nil {
		t.Error(err)
	}
	for _, c := range []Config{
		{HelloTimeout: -1},
		{ConnectTimeout: -1},
		{StallTimeout: -1},
		{FlushTimeout: -1},
		{MinRate: -1},
		{Sessions: -1},
		{SessionsPerPeer: -1},
	} {
		if c.Validate() == nil {
			t.Errorf("%+v is valid", c)
		}
	}
}

func TestEmptyBlob(t *testing.T) {
	a, b := pair(t, Config{})
	d := digestOf(1)
	a.connect(b, d, 0)
	a.send(b, d, wire.Ask{Chunk: 0})
	b.waitMessage(d, wire.Ask{Chunk: 0})
	if err := result(t, b.serve(a.ID(), d, blob.Geometry{}, 0)); err != nil {
		t.Error(err)
	}
	if got := a.waitChunk(d, 0); len(got.body) != 0 || got.err != nil {
		t.Errorf("the only chunk of the empty blob is %v", got)
	}
	b.send(a, d, wire.Chain{})
	a.waitMessage(d, wire.Chain{})
}

func TestConnectTwice(t *testing.T) {
	a, b := pair(t, Config{})
	d := digestOf(1)
	a.connect(b, d, testSize)
	for _, n := range []struct{ from, to *node }{{a, b}, {b, a}} {
		if err := n.from.Exchange.Connect(t.Context(), n.to.ID(), d, testSize); err != nil {
			t.Errorf("Connect where there is a session: %v", err)
		}
	}
	a.connect(b, digestOf(2), testSize) // another blob is another session
	if a.count("joined", d) != 1 || b.count("joined", d) != 1 || a.Sessions() != 2 {
		t.Errorf("%d sessions", a.Sessions())
	}
}

func TestRefused(t *testing.T) {
	a, b := pair(t, Config{})
	b.accept = func(context.Context, peer.ID, blob.Digest, blob.ByteCount) error { return errors.New("unknown blob") }
	for range 3 {
		if err := a.Exchange.Connect(t.Context(), b.ID(), digestOf(1), testSize); !errors.Is(err, ErrRefused) || isViolation(err) {
			t.Errorf("Connect: %v", err)
		}
	}
	if len(a.kinds()) != 0 || len(b.kinds()) != 0 || a.Sessions() != 0 {
		t.Errorf("happened: %v, %v", a.kinds(), b.kinds())
	}
	if err := a.Exchange.Connect(t.Context(), b.ID(), digestOf(1), -1); !errors.Is(err, blob.ErrSize) {
		t.Errorf("Connect about a blob of -1 bytes: %v", err)
	}
}

func TestConnectToNobody(t *testing.T) {
	a, b := pair(t, Config{})
	stranger := newHost(t) // without the protocol
	introduce(a.Host, stranger)
	if err := a.Exchange.Connect(t.Context(), stranger.ID(), digestOf(1), testSize); err == nil {
		t.Error("Connect to a host without the protocol succeeds")
	}
	if err := a.Exchange.Connect(t.Context(), "nobody at all", digestOf(1), testSize); err == nil {
		t.Error("Connect to nobody succeeds")
	}
	a.connect(b, digestOf(1), testSize)
}

// A Connect whose context ends leaves nothing behind, here and there.
func TestConnectCancelled(t *testing.T) {
	a, b := pair(t, Config{})
	reached, release := make(chan struct{}, 1), make(chan struct{})
	b.accept = func(context.Context, peer.ID, blob.Digest, blob.ByteCount) error {
		reached <- struct{}{}
		<-release
		return nil
	}
	why := errors.New("no longer wanted")
	ctx, cancel := context.WithCancelCause(t.Context())
	failed := make(chan error)
	go func() { failed <- a.Exchange.Connect(ctx, b.ID(), digestOf(1), testSize) }()
	<-reached
	cancel(why)
	if err := <-failed; !errors.Is(err, why) {
		t.Errorf("Connect: %v", err)
	}
	close(release)
	b.accept = nil
	b.connect(a, digestOf(2), testSize)
	if n := a.count("joined", digestOf(1)); n != 0 {
		t.Errorf("the cancelled session was joined %d times", n)
	}
}

func TestNoSession(t *testing.T) {
	a, b := pair(t, Config{})
	d := digestOf(1)
	if err := a.Send(b.ID(), d, wire.Ask{}); !errors.Is(err, ErrNoSession) {
		t.Errorf("Send: %v", err)
	}
	err := a.SendChunk(b.ID(), d, 0, nil, func(error) { t.Error("done was called") })
	if !errors.Is(err, ErrNoSession) {
		t.Errorf("SendChunk: %v", err)
	}
	a.Disconnect(b.ID(), d)
}

func TestSendRefuses(t *testing.T) {
	a, b := pair(t, Config{})
	d := digestOf(1)
	a.connect(b, d, testSize)
	for _, m := range []wire.Message{wire.Hello{Blob: d}, wire.Chunk{Length: wire.MaxPiece}} {
		if err := a.Send(b.ID(), d, m); !errors.Is(err, ErrMessage) {
			t.Errorf("Send of %T: %v", m, err)
		}
	}
	for _, m := range []wire.Message{wire.Ask{Chunk: 11}, wire.Have{Chunks: setOf(3)}, wire.Chain{}, wire.Reading{Spans: []wire.Span{{First: 10, Count: 2}}}} {
		if err := a.Send(b.ID(), d, m); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("Send of %#v: %v", m, err)
		}
	}
	// What nobody waits for need not go out; it would be a violation.
	a.send(b, d, wire.Busy{Chunk: 1})
	a.send(b, d, wire.Cancel{Chunk: 1})
	if err := a.SendChunk(b.ID(), d, 1, nil, nil); !errors.Is(err, ErrNotAsked) {
		t.Errorf("SendChunk that nobody asked for: %v", err)
	}
	a.send(b, d, wire.Have{Chunks: setOf(11, 5)})
	b.waitMessage(d, wire.Have{Chunks: setOf(11, 5)})
	if got := b.kinds(); !slices.Equal(got, []string{"joined", "wire.Have"}) {
		t.Errorf("the peer saw %v", got)
	}
}

func TestAsksAreBounded(t *testing.T) {
	a, b := pair(t, Config{})
	d, size := digestOf(1), 100*blob.MinChunk
	g := geometryOf(t, size)
	a.connect(b, d, size)
	for i := range blob.ChunkIndex(MaxAsks) {
		a.send(b, d, wire.Ask{Chunk: i})
		a.send(b, d, wire.Ask{Chunk: i}) // nothing new
	}
	if err := a.Send(b.ID(), d, wire.Ask{Chunk: MaxAsks}); !errors.Is(err, ErrTooManyAsks) {
		t.Errorf("one ask too many: %v", err)
	}
	b.waitMessage(d, wire.Ask{Chunk: MaxAsks - 1})
	// Each answer and each cancel makes room for one.
	if err := result(t, b.serve(a.ID(), d, g, 5)); err != nil {
		t.Error(err)
	}
	a.waitChunk(d, 5)
	b.send(a, d, wire.Busy{Chunk: 6})
	a.waitMessage(d, wire.Busy{Chunk: 6})
	a.send(b, d, wire.Cancel{Chunk: 7})
	for i := range blob.ChunkIndex(3) {
		a.send(b, d, wire.Ask{Chunk: MaxAsks + i})
	}
	if err := a.Send(b.ID(), d, wire.Ask{Chunk: 99}); !errors.Is(err, ErrTooManyAsks) {
		t.Errorf("one ask too many: %v", err)
	}
	b.waitMessage(d, wire.Ask{Chunk: MaxAsks + 2})
	if b.count("left", d) != 0 {
		t.Error("the peer takes honest asks for a violation")
	}
}

// A session that ended can be opened again at once, by either side.
func TestReconnect(t *testing.T) {
	a, b := pair(t, Config{})
	d := digestOf(1)
	for round := range 60 {
		from, to := a, b
		if round%2 == 1 {
			from, to = b, a
		}
		if err := from.Exchange.Connect(t.Context(), to.ID(), d, testSize); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		to.wait("joined", round+1, func(e event) bool { return e.what == "joined" })
		end := from
		if round%4 > 1 {
			end = to
		}
		other := map[*node]*node{a: b, b: a}[end]
		end.Disconnect(other.ID(), d)
		for _, n := range []*node{a, b} {
			n.wait("left", round+1, func(e event) bool { return e.what == "left" })
		}
	}
}

// Disconnect sends what is queued.
func TestDisconnectFlushes(t *testing.T) {
	a, b := pair(t, Config{})
	for round := range 20 {
		d := digestOf(byte(round))
		a.connect(b, d, testSize)
		want := []wire.Message{
			wire.Have{Chunks: setOf(11, 1)},
			wire.Chain{Inner: make([]chain.State, 10)},
			wire.Ask{Chunk: 1},
			wire.Peers{},
			wire.Reading{},
		}
		for _, m := range want {
			a.send(b, d, m)
		}
		a.Disconnect(b.ID(), d)
		if err := a.Send(b.ID(), d, wire.Peers{}); !errors.Is(err, ErrNoSession) {
			t.Errorf("Send after Disconnect: %v", err)
		}
		if err := b.waitLeft(d); !errors.Is(err, ErrPeerClosed) {
			t.Errorf("Left: %v", err)
		}
		for _, m := range want {
			b.waitMessage(d, m)
		}
	}
}

func TestCloseEndsEverything(t *testing.T) {
	a, b := pair(t, Config{})
	d := digestOf(1)
	a.connect(b, d, testSize)
	reached := make(chan struct{}, 1)
	b.accept = func(ctx context.Context, _ peer.ID, _ blob.Digest, _ blob.ByteCount) error {
		reached <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	failed := make(chan error)
	go func() { failed <- a.Exchange.Connect(t.Context(), b.ID(), digestOf(2), testSize) }()
	<-reached
	a.send(b, d, wire.Ask{Chunk: 1})
	b.waitMessage(d, wire.Ask{Chunk: 1})
	stuck, release := io.Pipe()
	done := b.serveFrom(a.ID(), d, 1, func() (io.ReadCloser, error) { return stuck, nil })
	a.Close()
	if err := <-failed; !errors.Is(err, ErrClosed) {
		t.Errorf("Connect while closing: %v", err)
	}
	if n := a.count("left", d); n != 1 {
		t.Errorf("Left was called %d times before Close returned", n)
	}
	if err := a.waitLeft(d); err != nil {
		t.Errorf("Left: %v", err)
	}
	if err := a.Exchange.Connect(t.Context(), b.ID(), d, testSize); !errors.Is(err, ErrClosed) {
		t.Errorf("Connect after Close: %v", err)
	}
	_ = release.CloseWithError(errors.New("broken disk"))
	if err := result(t, done); err == nil {
		t.Error("a chunk was sent to a closed exchange")
	}
	if err := b.waitLeft(d); err == nil || isViolation(err) {
		t.Errorf("Left at the other side: %v", err)
	}
	if err := b.Exchange.Connect(t.Context(), a.ID(), d, testSize); err == nil {
		t.Error("Connect to a closed exchange succeeds")
	}
	a.Close() // again
}
