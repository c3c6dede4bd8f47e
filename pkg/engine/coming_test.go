package engine

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/upstream"
	"github.com/shoal-project/shoal/scheduler"
)

// ago is a moment in the past as a coming keeps it.
func ago(d time.Duration) int64 { return time.Now().Add(-d).UnixNano() }

// TestComingStands: only a chunk that has begun and then stood still, or drips, is given up.
func TestComingStands(t *testing.T) {
	var c coming
	if c.stands(0) {
		t.Error("a chunk stands that nobody sends")
	}
	c.begin(3)
	if c.stands(3) {
		t.Error("a chunk stands that has just begun")
	}
	c.moved.Store(ago(time.Minute))
	if !c.stands(3) || c.stands(2) {
		t.Errorf("a minute later: chunk 3 stands %v, chunk 2 %v", c.stands(3), c.stands(2))
	}
	c.move(1)
	if c.stands(3) {
		t.Error("a chunk stands whose bytes come")
	}
	c.began.Store(ago(4 * time.Second))
	if c.move(1 << 10); !c.stands(3) {
		t.Error("a chunk of which 1 KiB came in four seconds does not stand")
	}
	if c.move(300 << 10); c.stands(3) {
		t.Error("a chunk stands of which 300 KiB came in four seconds")
	}
	c.moved.Store(0)
	c.end()
	if c.stands(3) {
		t.Error("a chunk stands that is here")
	}
}

// left are the peers that sessions were ended with.
type left struct {
	Sessions
	with chan peer.ID
}

func (l left) Disconnect(p peer.ID, _ blob.Digest) { l.with <- p }

// TestDrippingChunkGivesWay: a chunk of which a byte comes now and then, for an ask that was
// taken back or not, is in the way of the registry's and of other peers' until its session ends.
func TestDrippingChunkGivesWay(t *testing.T) {
	for name, come := range map[string]func(*Engine, *download, []byte) error{
		"registry": func(e *Engine, d *download, _ []byte) error {
			d.sources = []upstream.Source{{}}
			return e.read(context.Background(), d, scheduler.ReadUpstream{Blob: d.digest, Read: 1, Count: 1})
		},
		"peer": func(e *Engine, d *download, chunk []byte) error {
			return e.Chunk("other", d.digest, 0, bytes.NewReader(chunk))
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, d, content := idleEngine(t)
			chunk := content[:d.geometry.Length(0)]
			sessions := left{with: make(chan peer.ID, 1)}
			e.net.sessions = sessions
			e.Joined("dripper", d.digest)
			next(t, e)
			body, send := io.Pipe()
			t.Cleanup(func() { _ = send.Close() }) // or the store waits for the chunk
			ended := make(chan error, 1)
			go func() { ended <- e.Chunk("dripper", d.digest, 0, body) }()
			for _, piece := range [][]byte{chunk[:10], nil} { // the second is read when the first is counted
				if _, err := send.Write(piece); err != nil {
					t.Fatal(err)
				}
			}
			// Not yet: whatever this machine does meanwhile, the chunk has just begun.
			coming := &e.session(sessionID{"dripper", d.digest}).coming
			coming.began.Store(ago(-time.Hour))
			coming.moved.Store(ago(-time.Hour))
			if err := come(e, d, chunk); err != nil || len(sessions.with) > 0 {
				t.Fatalf("a chunk that has just begun: %v, %d sessions ended", err, len(sessions.with))
			}
			coming.began.Store(ago(3 * time.Second))
			if err := come(e, d, chunk); err != nil {
				t.Fatal(err)
			}
			select {
			case p := <-sessions.with:
				if p != "dripper" {
					t.Errorf("the session with %s was ended", p)
				}
			default:
				t.Error("the dripping chunk is still in the way")
			}
			_ = send.CloseWithError(io.ErrUnexpectedEOF)
			if err := <-ended; err == nil {
				t.Error("half a chunk was taken")
			}
			next(t, e)
		})
	}
}
