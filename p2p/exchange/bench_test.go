package exchange

import (
	"bytes"
	"io"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/p2p"
	"github.com/shoal-project/shoal/p2p/admission"
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/wire"
)

// A server answers every ask with the same bytes.
type server struct {
	*node
	exchange *Exchange
	bytes    []byte
}

func (s *server) Joined(peer.ID, blob.Digest)      {}
func (s *server) Left(peer.ID, blob.Digest, error) {}
func (s *server) Received(p peer.ID, d blob.Digest, m wire.Message) {
	ask, ok := m.(wire.Ask)
	if !ok {
		return
	}
	body := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(s.bytes)), nil }
	if err := s.exchange.SendChunk(p, d, ask.Chunk, body, func(error) {}); err != nil {
		s.tb.Error(err)
	}
}

// A reader asks for the next chunk whenever one has come.
type asker struct {
	*node
	exchange *Exchange
	arrived  chan blob.ChunkIndex
	buffers  sync.Pool
}

func (a *asker) Joined(peer.ID, blob.Digest)      {}
func (a *asker) Left(peer.ID, blob.Digest, error) {}
func (a *asker) Chunk(_ peer.ID, _ blob.Digest, i blob.ChunkIndex, body io.Reader) error {
	buf, ok := a.buffers.Get().(*[]byte)
	if !ok {
		a.tb.Fatal("no buffer")
	}
	defer a.buffers.Put(buf)
	for {
		if _, err := body.Read(*buf); err == io.EOF {
			a.arrived <- i
			return nil
		} else if err != nil {
			return err
		}
	}
}

// newMember is a host as the daemon has it.
func newMember(tb testing.TB, secret admission.Secret) host.Host {
	tb.Helper()
	h, err := p2p.New(p2p.Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Secrets: []admission.Secret{secret}})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := h.Close(); err != nil {
			tb.Error(err)
		}
	})
	return h.Host()
}

// BenchmarkChunkExchange is what one session moves over loopback with TLS and yamux, two chunks
// of 4 MiB outstanding.
func BenchmarkChunkExchange(b *testing.B) {
	size := 64 * blob.GiB // 16,384 chunks
	secret := admission.GenerateSecret()
	from, to := newMember(b, secret), newMember(b, secret)
	introduce(from, to)
	g := geometryOf(b, size)
	serve := &server{node: &node{tb: b}, bytes: make([]byte, g.ChunkSize())}
	serve.exchange = New(from, serve, Config{})
	ask := &asker{
		node: &node{tb: b}, arrived: make(chan blob.ChunkIndex, 8),
		buffers: sync.Pool{New: func() any { p := make([]byte, 128<<10); return &p }},
	}
	ask.exchange = New(to, ask, Config{})
	b.Cleanup(serve.exchange.Close)
	b.Cleanup(ask.exchange.Close)
	d := digestOf(1)
	if err := ask.exchange.Connect(b.Context(), from.ID(), d, size); err != nil {
		b.Fatal(err)
	}
	next := blob.ChunkIndex(0)
	more := func() {
		if err := ask.exchange.Send(from.ID(), d, wire.Ask{Chunk: next % g.Chunks()}); err != nil {
			b.Fatal(err)
		}
		next++
	}
	b.SetBytes(int64(g.ChunkSize()))
	b.ReportAllocs()
	more()
	more()
	for b.Loop() {
		<-ask.arrived
		more()
	}
	b.StopTimer()
}
