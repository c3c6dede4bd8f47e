package exchange

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
	"github.com/shoal-project/shoal/pkg/wire"
)

// A raw peer speaks what it likes on a stream of the protocol.
type raw struct {
	t *testing.T
	network.Stream
	g blob.Geometry
}

// newRaw opens a stream to n from a host without an exchange.
func newRaw(t *testing.T, from host.Host, n *node, g blob.Geometry) *raw {
	t.Helper()
	introduce(from, n.Host)
	s, err := from.NewStream(t.Context(), n.ID(), ProtocolID)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Reset() })
	return &raw{t: t, Stream: s, g: g}
}

// greeted says hello and hears it.
func greeted(t *testing.T, from host.Host, n *node, d blob.Digest, size blob.ByteCount) *raw {
	t.Helper()
	r := newRaw(t, from, n, geometryOf(t, size))
	r.write(r.frames(wire.Hello{Blob: d, Size: size}))
	want := r.frames(wire.Hello{Blob: d, Size: size})
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("hello was answered with %x, %v", got, err)
	}
	n.waitJoined(d)
	return r
}

func (r *raw) frames(messages ...wire.Message) []byte {
	r.t.Helper()
	var p []byte
	for _, m := range messages {
		var err error
		if p, err = wire.Append(p, m, r.g); err != nil {
			r.t.Fatal(err)
		}
	}
	return p
}

// chunk is a whole chunk as it travels, in pieces.
func (r *raw) chunk(i blob.ChunkIndex) (p []byte) {
	r.t.Helper()
	for rest := chunkOf(r.g, i); len(rest) > 0; {
		n := wire.Piece(blob.ByteCount(len(rest)))
		p = append(p, r.frames(wire.Chunk{Chunk: i, Length: n})...)
		p = append(p, rest[:n]...)
		rest = rest[n:]
	}
	return p
}

func (r *raw) write(p []byte) {
	r.t.Helper()
	if _, err := r.Write(p); err != nil {
		r.t.Fatal(err)
	}
}

// ended waits until the other side ends the stream, and returns the reason that it gave.
func (r *raw) ended() network.StreamErrorCode {
	r.t.Helper()
	if err := r.SetReadDeadline(time.Now().Add(patience)); err != nil && !errors.Is(err, network.ErrReset) {
		r.t.Fatal(err)
	}
	_, err := io.Copy(io.Discard, r)
	reset, ok := errors.AsType[*network.StreamError](err)
	if !ok || !reset.Remote {
		r.t.Fatalf("the stream ended with %v", err)
	}
	return reset.ErrorCode
}

func TestViolations(t *testing.T) {
	n := newNode(t, Config{})
	hostile := newHost(t)
	g := geometryOf(t, 100*blob.MinChunk)
	asks := func(i, to blob.ChunkIndex) (list []wire.Message) {
		for ; i < to; i++ {
			list = append(list, wire.Ask{Chunk: i})
		}
		return list
	}
	index := byte(0)
	for what, c := range map[string]struct {
		good []wire.Message // what is fine
		bad  []byte
	}{
		"a second hello":             {bad: (&raw{t: t, g: g}).frames(wire.Hello{Blob: digestOf(1), Size: g.Size()})},
		"garbage":                    {bad: []byte("GET / HTTP/1.1\r\nHost: shoal\r\n\r\n" + strings.Repeat("shoal ", 20))},
		"an empty frame":             {bad: []byte{0}},
		"a frame that is too large":  {bad: []byte{0xff, 0xff, 0xff, 0x07}},
		"a length without end":       {bad: []byte{0xff, 0xff, 0xff, 0xff, 0xff}},
		"an unknown message":         {bad: []byte{2, 0x52, 0}},
		"a read beyond the blob":     {bad: []byte{8, 0x4a, 6, 0x0a, 4, 8, 99, 16, 2}},
		"an ask beyond the blob":     {bad: []byte{4, 0x1a, 2, 8, 100}},
		"a chunk nobody asked for":   {bad: (&raw{t: t, g: g}).frames(wire.Chunk{Chunk: 1, Length: wire.MaxPiece})},
		"a busy nobody asked for":    {bad: (&raw{t: t, g: g}).frames(wire.Busy{Chunk: 1})},
		"a chunk of another length":  {bad: []byte{6, 0x2a, 4, 8, 1, 16, 5}},
		"a chain that is too short":  {bad: (&raw{t: t}).frames(wire.Chain{})},
		"a bitset of another blob":   {bad: (&raw{t: t}).frames(wire.Have{Chunks: setOf(1, 0)})},
		"an ask twice":               {good: asks(0, 3), bad: (&raw{t: t, g: g}).frames(wire.Ask{Chunk: 2})},
		"one ask too many":           {good: asks(0, MaxAsks), bad: (&raw{t: t, g: g}).frames(wire.Ask{Chunk: MaxAsks})},
		"a message after good ones":  {good: []wire.Message{wire.Peers{}, wire.Have{Chunks: blob.FullBitset(100)}, wire.Chain{Inner: make([]chain.State, 99)}}, bad: []byte{1, 0}},
		"an ask twice with a cancel": {good: []wire.Message{wire.Ask{}, wire.Cancel{}, wire.Ask{}}, bad: (&raw{t: t, g: g}).frames(wire.Ask{})},
	} {
		index++
		d := digestOf(index)
		t.Run(what, func(t *testing.T) {
			r := greeted(t, hostile, n, d, g.Size())
			r.write(r.frames(c.good...))
			for _, m := range c.good {
				n.waitMessage(d, m)
			}
			r.write(c.bad)
			if code := r.ended(); code != codeViolation {
				t.Errorf("the stream was reset with %#x", code)
			}
			err := n.waitLeft(d)
			v, ok := errors.AsType[*ViolationError](err)
			if !ok || !v.Violation() || v.Peer != hostile.ID() || v.Blob != d || !strings.Contains(v.Error(), hostile.ID().String()) {
				t.Errorf("Left: %v", err)
			}
			if got := n.count("received", d); got != len(c.good) {
				t.Errorf("the handler got %d messages, want %d", got, len(c.good))
			}
		})
	}
	if len(n.violated()) != 0 {
		t.Errorf("violations outside of sessions: %v", n.violated())
	}
}

// The answer to one ask is one chunk. A second copy was not asked for.
func TestSecondAnswerIsAViolation(t *testing.T) {
	n := newNode(t, Config{})
	helper := &raw{t: t, g: geometryOf(t, testSize)}
	begun := wire.Chunk{Chunk: 1, Length: wire.MaxPiece}
	index := byte(0)
	for what, answers := range map[string][]byte{
		"the chunk again":      append(helper.chunk(1), helper.frames(begun)...),
		"busy after the chunk": append(helper.chunk(1), helper.frames(wire.Busy{Chunk: 1})...),
		"the chunk after busy": helper.frames(wire.Busy{Chunk: 1}, begun),
		"busy again":           helper.frames(wire.Busy{Chunk: 1}, wire.Busy{Chunk: 1}),
		"busy for another":     helper.frames(wire.Busy{Chunk: 2}),
	} {
		index++
		d := digestOf(index)
		from := newHost(t)
		r := greeted(t, from, n, d, testSize)
		if err := n.Send(from.ID(), d, wire.Ask{Chunk: 1}); err != nil {
			t.Fatal(err)
		}
		if _, err := wire.ReadFrame(byteReader{r}, 100, nil); err != nil {
			t.Fatal(err)
		}
		r.write(answers)
		if err := n.waitLeft(d); !isViolation(err) {
			t.Errorf("%s: Left: %v", what, err)
		}
	}
}

// A session that ends in good order before a chunk does has brought none: not its last byte, nor
// its last piece, may be missing. It may have had its reasons.
func TestChunkWithoutItsEnd(t *testing.T) {
	n := newNode(t, Config{})
	helper := &raw{t: t, g: geometryOf(t, testSize)}
	const last = blob.MinChunk % wire.MaxPiece
	header := len(helper.frames(wire.Chunk{Chunk: 1, Length: last}))
	for at, missing := range []int{1, int(last), header + int(last)} {
		d, from := digestOf(byte(at)), newHost(t)
		r := greeted(t, from, n, d, testSize)
		if err := n.Send(from.ID(), d, wire.Ask{Chunk: 1}); err != nil {
			t.Fatal(err)
		}
		whole := r.chunk(1)
		r.write(whole[:len(whole)-missing])
		if err := r.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got := n.waitChunk(d, 1); !errors.Is(got.err, io.ErrUnexpectedEOF) {
			t.Errorf("without its last %d bytes the chunk ends with %v", missing, got.err)
		}
		if err := n.waitLeft(d); !errors.Is(err, io.ErrUnexpectedEOF) || isViolation(err) {
			t.Errorf("without its last %d bytes: Left: %v", missing, err)
		}
	}
}

// The pieces of a chunk follow each other, each as long as it must be.
func TestPiecesOutOfOrder(t *testing.T) {
	n := newNode(t, Config{})
	first := wire.Chunk{Chunk: 1, Length: wire.MaxPiece}
	for what, c := range map[string]struct {
		begin []wire.Message
		bytes blob.ByteCount // of the piece begun
		then  []wire.Message
	}{
		"a chunk that begins with its end": {then: []wire.Message{wire.Chunk{Chunk: 1, Length: blob.MinChunk % wire.MaxPiece}}},
		"another chunk in between":         {[]wire.Message{first}, wire.MaxPiece, []wire.Message{wire.Chunk{Chunk: 2, Length: wire.MaxPiece}}},
		"a short piece in the middle":      {[]wire.Message{first}, wire.MaxPiece, []wire.Message{wire.Chunk{Chunk: 1, Length: blob.MinChunk % wire.MaxPiece}}},
		"a violation in between":           {[]wire.Message{first}, wire.MaxPiece, []wire.Message{wire.Busy{Chunk: 3}}},
	} {
		d, from := digestOf(byte(len(what))), newHost(t)
		r := greeted(t, from, n, d, testSize)
		for i := range blob.ChunkIndex(2) {
			if err := n.Send(from.ID(), d, wire.Ask{Chunk: i + 1}); err != nil {
				t.Fatal(err)
			}
		}
		r.write(append(r.frames(c.begin...), make([]byte, c.bytes)...))
		r.write(r.frames(c.then...))
		if err := n.waitLeft(d); !isViolation(err) {
			t.Errorf("%s: Left: %v", what, err)
		}
	}
}

type byteReader struct{ io.Reader }

func (r byteReader) ReadByte() (byte, error) {
	var b [1]byte
	_, err := io.ReadFull(r, b[:])
	return b[0], err
}

// Who breaks the protocol before there is a session is reported too.
func TestViolationsBeforeHello(t *testing.T) {
	n := newNode(t, Config{})
	hostile := newHost(t)
	for what, p := range map[string][]byte{
		"garbage":              []byte("\x13/multistream/1.0.0\n"),
		"an ask":               (&raw{t: t}).frames(wire.Ask{}),
		"a hello of no blob":   append([]byte{36, 0x0a, 34, 0x0a, 32}, make([]byte, 32)...),
		"a frame of 1 MiB":     {0x80, 0x80, 0x40},
		"a blob that is large": append(append([]byte{43, 0x0a, 41, 0x0a, 32}, bytes.Repeat([]byte{1}, 32)...), 0x10, 0x81, 0x80, 0x80, 0x80, 0x80, 0x08),
	} {
		before := len(n.violated())
		r := newRaw(t, hostile, n, blob.Geometry{})
		r.write(p)
		if code := r.ended(); code != codeViolation {
			t.Errorf("%s: the stream was reset with %#x", what, code)
		}
		n.until("violation by "+what, func() bool { return len(n.violations) == before+1 })
	}
	if len(n.kinds()) != 0 {
		t.Errorf("the handler saw %v", n.kinds())
	}
}

func (n *node) violated() []*ViolationError {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.violations
}

// Whoever answers a Hello with another one, or with something else, broke the protocol too.
func TestConnectToALiar(t *testing.T) {
	n, liar := newNode(t, Config{}), newHost(t)
	introduce(n.Host, liar)
	d := digestOf(1)
	helper := &raw{t: t, g: geometryOf(t, testSize)}
	for what, answer := range map[string][]byte{
		"another blob":  helper.frames(wire.Hello{Blob: digestOf(2), Size: testSize}),
		"another size":  helper.frames(wire.Hello{Blob: d, Size: testSize + 1}),
		"no hello":      helper.frames(wire.Have{Chunks: setOf(11, 1)}),
		"garbage":       []byte("220 ESMTP ready\r\n"),
		"an empty line": {0},
	} {
		liar.SetStreamHandler(ProtocolID, func(s network.Stream) {
			_, _ = s.Write(answer)
			_, _ = io.Copy(io.Discard, s)
			_ = s.Close()
		})
		if err := n.Exchange.Connect(t.Context(), liar.ID(), d, testSize); !isViolation(err) {
			t.Errorf("Connect to who answers with %s: %v", what, err)
		}
	}
	liar.SetStreamHandler(ProtocolID, func(s network.Stream) { _ = s.Close() })
	if err := n.Exchange.Connect(t.Context(), liar.ID(), d, testSize); err == nil || isViolation(err) {
		t.Errorf("Connect to who hangs up: %v", err)
	}
	if len(n.kinds()) != 0 || n.Sessions() != 0 {
		t.Errorf("the handler saw %v", n.kinds())
	}
}

// Random bytes, before and after the Hello, never do more than end the session.
func TestGarbage(t *testing.T) {
	n := newNode(t, Config{StallTimeout: 2 * time.Second, HelloTimeout: 2 * time.Second})
	hostile := newHost(t)
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 40 {
		d := digestOf(byte(round))
		junk := make([]byte, random.IntN(5000))
		for i := range junk {
			junk[i] = byte(random.Uint32())
		}
		if round%2 == 0 {
			r := newRaw(t, hostile, n, blob.Geometry{})
			_, _ = r.Write(junk) // it may be reset by then
			_ = r.CloseWrite()
			_ = r.ended()
			continue
		}
		r := greeted(t, hostile, n, d, testSize)
		_, _ = r.Write(junk) // it may be reset by then
		_ = r.CloseWrite()
		_ = n.waitLeft(d)
	}
	if c := n.count("joined", digestOf(2)); c != 0 {
		t.Errorf("%d sessions from garbage", c)
	}
}
