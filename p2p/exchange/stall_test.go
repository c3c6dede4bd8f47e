package exchange

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/wire"
)

// Silence before the Hello costs the stream, and its place.
func TestSilenceBeforeHello(t *testing.T) {
	n := newNode(t, Config{HelloTimeout: 300 * time.Millisecond, SessionsPerPeer: 4})
	hostile := newHost(t)
	silent := make([]*raw, 4)
	for i := range silent {
		r := newRaw(t, hostile, n, blob.Geometry{})
		r.write(r.frames(wire.Hello{Blob: digestOf(1), Size: testSize})[:i+1]) // begun, and never done
		silent[i] = r
	}
	for _, r := range silent {
		if code := r.ended(); code != codeFailed {
			t.Errorf("the stream was reset with %#x", code)
		}
	}
	// Here is room again.
	for deadline := time.Now().Add(patience); ; {
		if time.Now().After(deadline) {
			t.Fatal("no place was given back")
		}
		r := newRaw(t, hostile, n, geometryOf(t, testSize))
		r.write(r.frames(wire.Hello{Blob: digestOf(2), Size: testSize}))
		if _, err := r.Read(make([]byte, 1)); err == nil {
			break
		}
	}
	n.waitJoined(digestOf(2))
}

// A peer that never answers a Hello fails Connect in time.
func TestConnectToTheSilent(t *testing.T) {
	n, silent := newNode(t, Config{HelloTimeout: 200 * time.Millisecond}), newHost(t)
	introduce(n.Host, silent)
	silent.SetStreamHandler(ProtocolID, func(s network.Stream) {
		_, _ = io.Copy(io.Discard, s)
		_ = s.Close()
	})
	if err := n.Exchange.Connect(t.Context(), silent.ID(), digestOf(1), testSize); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Connect: %v", err)
	}
}

// A frame that has begun must move; a session in which nothing is said may be silent for ever.
func TestStall(t *testing.T) {
	n := newNode(t, Config{StallTimeout: 300 * time.Millisecond})
	from := newHost(t)
	quiet := greeted(t, from, n, digestOf(0), testSize)
	for at, part := range [][]byte{
		{4},             // a length
		{4, 0x1a, 2, 8}, // and some of the message
	} {
		d := digestOf(byte(at + 1))
		r := greeted(t, from, n, d, testSize)
		r.write(part)
		if err := n.waitLeft(d); !errors.Is(err, ErrStalled) || isViolation(err) {
			t.Errorf("Left: %v", err)
		}
	}
	d := digestOf(3)
	r := greeted(t, from, n, d, testSize)
	if err := n.Send(from.ID(), d, wire.Ask{Chunk: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := wire.ReadFrame(byteReader{r}, 100, nil); err != nil {
		t.Fatal(err)
	}
	r.write(append(r.frames(wire.Chunk{Chunk: 1, Length: wire.MaxPiece}), 1, 2, 3))
	if err := n.waitLeft(d); !errors.Is(err, ErrStalled) || isViolation(err) {
		t.Errorf("Left: %v", err)
	}
	if got := n.waitChunk(d, 1); !errors.Is(got.err, ErrStalled) || !bytes.Equal(got.body, []byte{1, 2, 3}) {
		t.Errorf("the handler got %v", got)
	}
	quiet.write(quiet.frames(wire.Ask{Chunk: 1})) // it was silent for longer than any of these
	n.waitMessage(digestOf(0), wire.Ask{Chunk: 1})
}

// Progress alone is not enough: a chunk that drips holds up who else could bring it.
func TestDrip(t *testing.T) {
	n := newNode(t, Config{StallTimeout: 500 * time.Millisecond, MinRate: 100 * blob.MiB})
	from, d := newHost(t), digestOf(1)
	r := greeted(t, from, n, d, testSize)
	if err := n.Send(from.ID(), d, wire.Ask{Chunk: 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := wire.ReadFrame(byteReader{r}, 100, nil); err != nil {
		t.Fatal(err)
	}
	r.write(r.frames(wire.Chunk{Chunk: 1, Length: wire.MaxPiece}))
	drops := time.NewTicker(20 * time.Millisecond)
	defer drops.Stop()
	for range drops.C {
		if _, err := r.Write([]byte{1}); err != nil {
			break
		}
	}
	if err := n.waitLeft(d); !errors.Is(err, ErrStalled) {
		t.Errorf("Left: %v", err)
	}
}

// A peer that asks and does not read what it gets loses the session, and not this node its memory.
func TestSlowReader(t *testing.T) {
	n := newNode(t, Config{StallTimeout: 300 * time.Millisecond})
	from, d, size := newHost(t), digestOf(1), blob.GiB
	r := greeted(t, from, n, d, size)
	asks := []wire.Message{wire.Ask{}, wire.Ask{Chunk: 1}, wire.Ask{Chunk: 2}, wire.Ask{Chunk: 3}}
	r.write(r.frames(asks...))
	n.waitMessage(d, asks[3])
	ends := make([]<-chan error, len(asks)) // 16 MiB: more than any window
	for i := range ends {
		ends[i] = n.serveFrom(from.ID(), d, blob.ChunkIndex(i), func() (io.ReadCloser, error) { return io.NopCloser(zeros{}), nil })
	}
	if err := n.waitLeft(d); !errors.Is(err, ErrStalled) || isViolation(err) {
		t.Errorf("Left: %v", err)
	}
	stalled := 0
	for _, done := range ends {
		if err := result(t, done); err != nil {
			stalled++
		}
	}
	if stalled == 0 {
		t.Error("everything was sent to who does not read")
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Messages for who does not read are bounded.
func TestOverflow(t *testing.T) {
	n := newNode(t, Config{})
	from, d := newHost(t), digestOf(1)
	_ = greeted(t, from, n, d, testSize)
	contact := wire.Contact{Peer: "x", Addresses: [][]byte{make([]byte, wire.MaxAddress)}}
	var peers wire.Peers
	for range wire.MaxContacts {
		peers.Contacts = append(peers.Contacts, contact)
	}
	var err error
	for sent := 0; err == nil; sent++ {
		if sent > 100_000 {
			t.Fatal("the queue never ends")
		}
		err = n.Send(from.ID(), d, peers)
	}
	if !errors.Is(err, ErrOverflow) {
		t.Errorf("Send: %v", err)
	}
	if err := n.waitLeft(d); !errors.Is(err, ErrOverflow) || isViolation(err) {
		t.Errorf("Left: %v", err)
	}
}
