package exchange

import (
	"context"
	"io"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/p2p/admission"
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/wire"
)

// A listener counts the messages it is told.
type listener struct{ told *sync.WaitGroup }

func (listener) Accept(context.Context, peer.ID, blob.Digest, blob.ByteCount) error { return nil }
func (listener) Joined(peer.ID, blob.Digest)                                        {}
func (listener) Left(peer.ID, blob.Digest, error)                                   {}
func (l listener) Received(peer.ID, blob.Digest, wire.Message)                      { l.told.Done() }
func (listener) Chunk(peer.ID, blob.Digest, blob.ChunkIndex, io.Reader) error       { return nil }

// BenchmarkTellCrowd is what it costs to tell 50 peers of new chunks, both ends included.
func BenchmarkTellCrowd(b *testing.B) {
	const peers = 50
	size := blob.GiB
	g, d, secret := geometryOf(b, size), digestOf(1), admission.GenerateSecret()
	var told sync.WaitGroup
	h := newMember(b, secret)
	from := New(h, listener{&told}, Config{})
	b.Cleanup(from.Close)
	to := make([]peer.ID, peers)
	for i := range to {
		other := newMember(b, secret)
		introduce(h, other)
		e := New(other, listener{&told}, Config{})
		b.Cleanup(e.Close)
		if err := from.Connect(b.Context(), other.ID(), d, size); err != nil {
			b.Fatal(err)
		}
		to[i] = other.ID()
	}
	b.ReportAllocs()
	for i := blob.ChunkIndex(0); b.Loop(); i++ {
		news := wire.Have{Chunks: setOf(g.Chunks(), i%g.Chunks(), (i+700)%g.Chunks())}
		told.Add(peers)
		for _, p := range to {
			if err := from.Send(p, d, news); err != nil {
				b.Fatal(err)
			}
		}
		told.Wait()
	}
}
