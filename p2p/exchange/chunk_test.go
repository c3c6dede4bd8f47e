package exchange

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/wire"
)

// gated is a body whose second half waits until the gate opens.
type gated struct {
	*bytes.Reader
	begun chan struct{} // closed when the gate is reached
	gate  chan struct{}
	half  int
	once  sync.Once
}

func newGated(t *testing.T, p []byte) *gated {
	t.Helper()
	g := &gated{Reader: bytes.NewReader(p), begun: make(chan struct{}), gate: make(chan struct{}), half: len(p) / 2}
	t.Cleanup(g.release) // a test that failed must end too
	return g
}

func (g *gated) release() { g.once.Do(func() { close(g.gate) }) }

func (g *gated) Read(p []byte) (int, error) {
	if g.begun != nil && g.Len() <= g.half {
		close(g.begun)
		g.begun = nil
		<-g.gate
	}
	if g.begun != nil {
		p = p[:min(len(p), g.Len()-g.half)]
	}
	return g.Reader.Read(p)
}

func (g *gated) Close() error { return nil }

// asked opens a session in which b was asked for the chunks.
func asked(t *testing.T, a, b *node, d blob.Digest, size blob.ByteCount, chunks ...blob.ChunkIndex) blob.Geometry {
	t.Helper()
	a.connect(b, d, size)
	for _, i := range chunks {
		a.send(b, d, wire.Ask{Chunk: i})
		b.waitMessage(d, wire.Ask{Chunk: i})
	}
	return geometryOf(t, size)
}

// A chunk that is queued is dropped by a Cancel; one that has begun arrives all the same.
func TestCancel(t *testing.T) {
	a, b := pair(t, Config{})
	d := digestOf(1)
	g := asked(t, a, b, d, testSize, 0, 1, 2)
	slow := newGated(t, chunkOf(g, 0))
	begun := slow.begun
	first := b.serveFrom(a.ID(), d, 0, func() (io.ReadCloser, error) { return slow, nil })
	second := b.serveFrom(a.ID(), d, 1, func() (io.ReadCloser, error) {
		t.Error("a cancelled chunk was opened")
		return nil, io.EOF
	})
	third := b.serve(a.ID(), d, g, 2)
	<-begun
	a.send(b, d, wire.Cancel{Chunk: 0})
	a.send(b, d, wire.Cancel{Chunk: 1})
	if err := result(t, second); !errors.Is(err, ErrCancelled) {
		t.Errorf("the queued chunk: %v", err)
	}
	b.waitMessage(d, wire.Cancel{Chunk: 1})
	slow.release()
	for _, done := range []<-chan error{first, third} {
		if err := result(t, done); err != nil {
			t.Error(err)
		}
	}
	for _, i := range []blob.ChunkIndex{0, 2} {
		if got := a.waitChunk(d, i); !bytes.Equal(got.body, chunkOf(g, i)) {
			t.Errorf("chunk %d came as %d other bytes", i, len(got.body))
		}
	}
	// That the Cancel was heard is no news to who cancelled.
	if want := []string{"joined", "chunk 0", "chunk 2"}; !slices.Equal(a.kinds(), want) {
		t.Errorf("who cancelled saw %v, want %v", a.kinds(), want)
	}
	// The Cancel of the chunk that had begun means nothing any more.
	if want := []string{"joined", "wire.Ask", "wire.Ask", "wire.Ask", "wire.Cancel"}; !slices.Equal(b.kinds(), want) {
		t.Errorf("saw %v, want %v", b.kinds(), want)
	}
	if a.count("left", d)+b.count("left", d) != 0 {
		t.Error("a crossing Cancel ended the session")
	}
}

// An answer that crosses with a Cancel is no violation, and what was cancelled can be asked again.
func TestAskAgainAfterCancel(t *testing.T) {
	a, b := pair(t, Config{})
	d := digestOf(1)
	g := asked(t, a, b, d, testSize, 0)
	slow := newGated(t, chunkOf(g, 0))
	begun := slow.begun
	first := b.serveFrom(a.ID(), d, 0, func() (io.ReadCloser, error) { return slow, nil })
	<-begun
	for n := range 3 { // only the first and the last Ask are answered
		a.send(b, d, wire.Cancel{Chunk: 0})
		a.send(b, d, wire.Ask{Chunk: 0})
		b.wait("ask", 2+n, func(e event) bool { return e.msg == wire.Message(wire.Ask{Chunk: 0}) })
	}
	second := b.serve(a.ID(), d, g, 0)
	slow.release()
	for _, done := range []<-chan error{first, second} {
		if err := result(t, done); err != nil {
			t.Error(err)
		}
	}
	a.wait("second copy", 2, func(e event) bool { return e.what == "chunk" && bytes.Equal(e.body, chunkOf(g, 0)) })
	if a.count("left", d)+b.count("left", d) != 0 {
		t.Error("the session ended")
	}
}

// A Cancel takes back an Ask that still waits for the writer.
func TestCancelledBeforeItWasSent(t *testing.T) {
	a, b := pair(t, Config{})
	d := digestOf(1)
	g := asked(t, a, b, d, testSize, 0)
	slow := newGated(t, chunkOf(g, 0))
	begun := slow.begun
	done := b.serveFrom(a.ID(), d, 0, func() (io.ReadCloser, error) { return slow, nil })
	<-begun
	// b's writer is held up: what it is told now waits in the queue.
	b.send(a, d, wire.Ask{Chunk: 5})
	b.send(a, d, wire.Ask{Chunk: 6})
	b.send(a, d, wire.Cancel{Chunk: 5})
	slow.release()
	if err := result(t, done); err != nil {
		t.Error(err)
	}
	a.waitMessage(d, wire.Ask{Chunk: 6})
	a.waitChunk(d, 0)
	if got := a.kinds(); slices.Contains(got, "wire.Cancel") || len(got) != 3 {
		t.Errorf("saw %v: an ask that was taken back came all the same", got)
	}
}

// Messages go between the pieces of a chunk, and before chunks that are queued. Increments of Have go as one and of Reading only
// the newest, behind Have: what was read is not read by others before they learn that it is here.
func TestMessagesOvertakeChunks(t *testing.T) {
	a, b := pair(t, Config{})
	d := digestOf(1)
	g := asked(t, a, b, d, testSize, 0, 1)
	slow := newGated(t, chunkOf(g, 0))
	begun := slow.begun
	first := b.serveFrom(a.ID(), d, 0, func() (io.ReadCloser, error) { return slow, nil })
	second := b.serve(a.ID(), d, g, 1)
	<-begun
	shared := setOf(11, 2)
	for _, chunks := range []blob.Bitset{shared, setOf(11, 3), setOf(11, 10, 2)} {
		b.send(a, d, wire.Have{Chunks: chunks})
	}
	b.send(a, d, wire.Ask{Chunk: 9})
	newest := wire.Reading{Spans: []wire.Span{{First: 4, Count: 1}}}
	for _, m := range []wire.Reading{{Spans: []wire.Span{{First: 3, Count: 2}}}, {}, newest} {
		b.send(a, d, m)
	}
	slow.release()
	for _, done := range []<-chan error{first, second} {
		if err := result(t, done); err != nil {
			t.Error(err)
		}
	}
	a.waitChunk(d, 1)
	if got := a.waitChunk(d, 0); !bytes.Equal(got.body, chunkOf(g, 0)) {
		t.Errorf("the chunk came as %d other bytes", len(got.body))
	}
	want := []string{"joined", "wire.Have", "wire.Reading", "wire.Ask", "chunk 0", "chunk 1"}
	if got := a.kinds(); !slices.Equal(got, want) {
		t.Errorf("the order was %v, want %v", got, want)
	}
	a.waitMessage(d, wire.Have{Chunks: setOf(11, 2, 3, 10)})
	a.waitMessage(d, newest)
	if shared.Count() != 1 {
		t.Error("a message was changed after it was sent")
	}
}

// A chunk that cannot be opened or begun is answered Busy; the session goes on.
func TestBodyThatCannotBeOpened(t *testing.T) {
	a, b := pair(t, Config{})
	d := digestOf(1)
	g := asked(t, a, b, d, testSize, 0, 1, 2, 10)
	broken := errors.New("broken disk")
	for i, body := range map[blob.ChunkIndex]func() (io.ReadCloser, error){
		0:  func() (io.ReadCloser, error) { return nil, broken },
		1:  func() (io.ReadCloser, error) { return io.NopCloser(iotest.ErrReader(broken)), nil },
		10: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(make([]byte, 99))), nil },
	} {
		if err := result(t, b.serveFrom(a.ID(), d, i, body)); !errors.Is(err, broken) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("chunk %d: %v", i, err)
		}
		a.waitMessage(d, wire.Busy{Chunk: i})
	}
	if err := result(t, b.serve(a.ID(), d, g, 2)); err != nil {
		t.Error(err)
	}
	a.waitChunk(d, 2)
}

// A chunk that breaks off in the middle ends the session: nothing can follow it.
func TestBodyThatBreaksOff(t *testing.T) {
	a, b := pair(t, Config{})
	broken := errors.New("broken disk")
	for n, tail := range []io.Reader{iotest.ErrReader(broken), bytes.NewReader(nil)} {
		d := digestOf(byte(n))
		g := asked(t, a, b, d, testSize, 0, 1)
		part := chunkOf(g, 0)[:100_000]
		queued := make(chan struct{})
		first := b.serveFrom(a.ID(), d, 0, func() (io.ReadCloser, error) {
			<-queued
			return io.NopCloser(io.MultiReader(bytes.NewReader(part), tail)), nil
		})
		second := b.serve(a.ID(), d, g, 1)
		close(queued)
		if err := result(t, first); !errors.Is(err, broken) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("the chunk that broke off: %v", err)
		}
		if err := result(t, second); !errors.Is(err, ErrNoSession) {
			t.Errorf("the chunk behind it: %v", err)
		}
		if err := b.waitLeft(d); err == nil || isViolation(err) {
			t.Errorf("Left at the sender: %v", err)
		}
		if err := a.waitLeft(d); err == nil || isViolation(err) {
			t.Errorf("Left at the receiver: %v", err)
		}
		for _, e := range a.seen() { // a reset may overtake all of it
			if e.what == "chunk" && e.err == nil {
				t.Errorf("the receiver got %v", e)
			}
		}
	}
}

// What the handler leaves of a chunk is thrown away, and its body is of no use afterwards.
func TestHandlerLeavesTheChunk(t *testing.T) {
	a, b := pair(t, Config{})
	d := digestOf(1)
	var kept io.Reader
	a.take = func(i blob.ChunkIndex, body io.Reader) ([]byte, error) {
		if i == 2 {
			return io.ReadAll(body)
		}
		kept = body
		got := make([]byte, int(i)*1000)
		_, err := io.ReadFull(body, got)
		return got, err
	}
	g := asked(t, a, b, d, testSize, 0, 1, 2)
	for i := range blob.ChunkIndex(3) {
		if err := result(t, b.serve(a.ID(), d, g, i)); err != nil {
			t.Error(err)
		}
		want := chunkOf(g, i)
		if i < 2 {
			want = want[:i*1000]
		}
		if got := a.waitChunk(d, i); !bytes.Equal(got.body, want) {
			t.Errorf("chunk %d is %d other bytes", i, len(got.body))
		}
	}
	if n, err := kept.Read(make([]byte, 10)); n != 0 || err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a body that was kept yields %d, %v", n, err)
	}
}

func TestHandlerFailsToTakeTheChunk(t *testing.T) {
	a, b := pair(t, Config{})
	d := digestOf(1)
	full := errors.New("disk full")
	a.take = func(blob.ChunkIndex, io.Reader) ([]byte, error) { return nil, full }
	g := asked(t, a, b, d, testSize, 0)
	done := b.serve(a.ID(), d, g, 0)
	if err := a.waitLeft(d); !errors.Is(err, full) || isViolation(err) {
		t.Errorf("Left: %v", err)
	}
	if err := b.waitLeft(d); err == nil || isViolation(err) {
		t.Errorf("Left at the sender: %v", err)
	}
	_ = result(t, done) // it may have been on its way entirely
}

// A peer that dies in the middle of a chunk is nobody's violation.
func TestPeerDiesMidChunk(t *testing.T) {
	a, b := pair(t, Config{})
	d := digestOf(1)
	g := asked(t, a, b, d, testSize, 0)
	arriving := make(chan struct{})
	a.take = func(_ blob.ChunkIndex, body io.Reader) ([]byte, error) {
		var got bytes.Buffer
		if _, err := io.CopyN(&got, body, 1); err != nil {
			return nil, err
		}
		close(arriving)
		_, err := got.ReadFrom(body)
		return got.Bytes(), err
	}
	slow := newGated(t, chunkOf(g, 0))
	done := b.serveFrom(a.ID(), d, 0, func() (io.ReadCloser, error) { return slow, nil })
	<-arriving
	if err := b.Network().ClosePeer(a.ID()); err != nil {
		t.Error(err)
	}
	if err := a.waitLeft(d); err == nil || isViolation(err) {
		t.Errorf("Left: %v", err)
	}
	if got := a.waitChunk(d, 0); got.err == nil || len(got.body) > len(chunkOf(g, 0))/2 {
		t.Errorf("of the chunk came %v", got)
	}
	slow.release()
	if err := result(t, done); err == nil {
		t.Error("the chunk was sent")
	}
	if err := b.waitLeft(d); err == nil || isViolation(err) {
		t.Errorf("Left at the dead one: %v", err)
	}
	if err := a.Exchange.Connect(t.Context(), b.ID(), d, testSize); err != nil { // it is back
		t.Error(err)
	}
}
