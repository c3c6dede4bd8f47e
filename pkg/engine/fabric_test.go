package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/store"
	"github.com/shoal-project/shoal/pkg/upstream"
	"github.com/shoal-project/shoal/pkg/wire"
	"github.com/shoal-project/shoal/scheduler"
)

// patience bounds every wait of a test; nothing is expected to come near it.
const patience = 60 * time.Second

// A fabric joins engines in one process: sessions are queues, the DHT is a map.
type fabric struct {
	mu      sync.Mutex
	engines map[peer.ID]*Engine
	keys    map[blob.Digest][]peer.ID
	ports   map[peer.ID]*port
	tamper  map[peer.ID]func(i blob.ChunkIndex, p []byte) // what a liar does to its chunks
}

func newFabric() *fabric {
	return &fabric{
		engines: map[peer.ID]*Engine{}, keys: map[blob.Digest][]peer.ID{},
		ports: map[peer.ID]*port{}, tamper: map[peer.ID]func(blob.ChunkIndex, []byte){},
	}
}

// A port is one engine's end of the fabric: its Sessions, Discovery and Membership.
type port struct {
	fabric  *fabric
	self    peer.ID
	mu      sync.Mutex
	queues  map[sessionKey]chan func() // of open sessions: work in order
	blocked map[peer.ID]bool
	onBlock func()
	wg      sync.WaitGroup
}

type sessionKey struct {
	peer peer.ID
	blob blob.Digest
}

// node starts an engine over its own store and joins it to the fabric.
func (f *fabric) node(t *testing.T, name string, up Upstream, dir string) *testNode {
	t.Helper()
	return f.nodeWith(t, name, up, store.Config{Dir: dir}, func(*Config) {})
}

// nodeWith is node with settings of the test's.
func (f *fabric) nodeWith(t *testing.T, name string, up Upstream, disk store.Config, set func(*Config)) *testNode {
	t.Helper()
	st, err := store.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	id := peer.ID(name)
	cfg := Config{
		Store: st, Upstream: up, Log: slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Scheduler: scheduler.Config{Self: scheduler.PeerID(id), Seed: 1},
	}
	set(&cfg)
	e := New(cfg)
	p := &port{fabric: f, self: id, queues: map[sessionKey]chan func(){}, blocked: map[peer.ID]bool{}}
	e.Join(p, p, p)
	f.mu.Lock()
	f.engines[id], f.ports[id] = e, p
	f.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	n := &testNode{Engine: e, store: st, port: p, cancel: cancel, ended: make(chan error, 1)}
	go func() { n.ended <- e.Run(ctx) }()
	f.count()
	t.Cleanup(n.stop)
	return n
}

// count tells every engine how many others there are.
func (f *fabric) count() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.engines {
		e.MembersCounted(len(f.engines) - 1)
	}
}

type testNode struct {
	*Engine
	store  *store.Store
	port   *port
	cancel context.CancelFunc
	ended  chan error
	once   sync.Once
}

func (n *testNode) stop() {
	n.once.Do(func() {
		f := n.port.fabric
		f.mu.Lock()
		delete(f.engines, n.port.self)
		f.mu.Unlock()
		n.port.disconnectAll()
		n.cancel()
		if err := <-n.ended; err != nil {
			panic(err)
		}
		n.port.wg.Wait()
		n.Close()
		_ = n.store.Close()
	})
}

func (p *port) Connect(ctx context.Context, to peer.ID, d blob.Digest, size blob.ByteCount) error {
	p.fabric.mu.Lock()
	other, otherPort := p.fabric.engines[to], p.fabric.ports[to]
	p.fabric.mu.Unlock()
	if other == nil {
		return errors.New("nobody there")
	}
	if err := other.Accept(ctx, p.self, d, size); err != nil {
		return err
	}
	mine := p.open(to, d)
	if mine == nil {
		return nil // open already
	}
	otherPort.open(p.self, d)
	return nil
}

// open begins this end of a session; nil when it is open already.
func (p *port) open(with peer.ID, d blob.Digest) chan func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := sessionKey{with, d}
	if p.queues[key] != nil || p.blocked[with] {
		return nil
	}
	queue := make(chan func(), 4096)
	p.queues[key] = queue
	p.fabric.mu.Lock()
	self := p.fabric.engines[p.self]
	p.fabric.mu.Unlock()
	if self == nil {
		return nil
	}
	self.Joined(with, d)
	p.wg.Go(func() {
		for work := range queue {
			work()
		}
		self.Left(with, d, nil)
	})
	return queue
}

func (p *port) close(with peer.ID, d blob.Digest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := sessionKey{with, d}
	if q := p.queues[key]; q != nil {
		close(q)
		delete(p.queues, key)
	}
}

func (p *port) disconnectAll() {
	p.mu.Lock()
	keys := make([]sessionKey, 0, len(p.queues))
	for k := range p.queues {
		keys = append(keys, k)
	}
	p.mu.Unlock()
	for _, k := range keys {
		p.Disconnect(k.peer, k.blob)
	}
}

func (p *port) Disconnect(with peer.ID, d blob.Digest) {
	p.close(with, d)
	p.fabric.mu.Lock()
	other := p.fabric.ports[with]
	p.fabric.mu.Unlock()
	if other != nil {
		other.close(p.self, d)
	}
}

// deliver queues work at the other end of the session, where it runs in order.
func (p *port) deliver(to peer.ID, d blob.Digest, work func(*Engine)) error {
	p.fabric.mu.Lock()
	other, otherPort := p.fabric.engines[to], p.fabric.ports[to]
	p.fabric.mu.Unlock()
	if other == nil {
		return errors.New("session is closed")
	}
	otherPort.mu.Lock()
	defer otherPort.mu.Unlock()
	q := otherPort.queues[sessionKey{p.self, d}]
	if q == nil {
		return errors.New("session is closed")
	}
	q <- func() { work(other) }
	return nil
}

func (p *port) Send(to peer.ID, d blob.Digest, m wire.Message) error {
	return p.deliver(to, d, func(e *Engine) { e.Received(p.self, d, m) })
}

func (p *port) SendChunk(to peer.ID, d blob.Digest, i blob.ChunkIndex, body func() (io.ReadCloser, error), done func(error)) error {
	r, err := body()
	if err != nil {
		return err
	}
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if lie := p.fabric.tamper[p.self]; lie != nil {
		lie(i, content)
	}
	err = p.deliver(to, d, func(e *Engine) { _ = e.Chunk(p.self, d, i, bytes.NewReader(content)) })
	p.wg.Go(func() { done(err) })
	return nil
}

func (p *port) Provide(key blob.Digest) bool {
	p.fabric.mu.Lock()
	defer p.fabric.mu.Unlock()
	p.fabric.keys[key] = append(p.fabric.keys[key], p.self)
	return true
}

func (p *port) Find(_ context.Context, key blob.Digest, _ int) iter.Seq[peer.AddrInfo] {
	p.fabric.mu.Lock()
	found := append([]peer.ID(nil), p.fabric.keys[key]...)
	p.fabric.mu.Unlock()
	return func(yield func(peer.AddrInfo) bool) {
		for _, id := range found {
			if id != p.self && !yield(peer.AddrInfo{ID: id}) {
				return
			}
		}
	}
}

func (p *port) Zone(peer.ID) string { return "" }

func (p *port) Block(who peer.ID, _ time.Duration) {
	if p.onBlock != nil {
		p.onBlock()
	}
	p.mu.Lock()
	p.blocked[who] = true
	p.mu.Unlock()
}

func (p *port) Contact(id peer.ID) wire.Contact { return wire.Contact{Peer: string(id)} }

func (p *port) Introduce(c wire.Contact) (peer.ID, error) { return peer.ID(c.Peer), nil }

// A testUpstream serves blobs from memory and can misbehave.
type testUpstream struct {
	content map[blob.Digest][]byte
	sent    atomic.Int64
	reads   atomic.Int64
	down    atomic.Bool
	whole   atomic.Bool // ranges are ignored, as far as is known
	// disturb may replace the body of the n-th read (from 1), or end it with an error.
	disturb func(n int64, body []byte) ([]byte, error)
	gate    chan struct{} // not nil: every read waits until it is closed
}

func (u *testUpstream) ReadBlob(ctx context.Context, _ upstream.Source, d blob.Digest, size, off, n blob.ByteCount) (io.ReadCloser, error) {
	number := u.reads.Add(1)
	if u.down.Load() {
		return nil, upstream.ErrUnreachable
	}
	content, ok := u.content[d]
	if !ok {
		return nil, upstream.ErrNotFound
	}
	if blob.ByteCount(len(content)) != size {
		return nil, fmt.Errorf("size %d, not %d", size, len(content))
	}
	body := content[off : off+n]
	var failure error
	if u.disturb != nil {
		body, failure = u.disturb(number, body)
		if failure != nil && body == nil {
			return nil, failure
		}
	}
	return &testBody{u: u, ctx: ctx, rest: body, failure: failure}, nil
}

func (u *testUpstream) RangesSupported(string) bool { return !u.whole.Load() }

type testBody struct {
	u       *testUpstream
	ctx     context.Context //nolint:containedctx // a test's body ends with its request
	rest    []byte
	failure error // after rest
}

func (b *testBody) Read(p []byte) (int, error) {
	if b.u.gate != nil {
		select {
		case <-b.u.gate:
		case <-b.ctx.Done():
			return 0, b.ctx.Err()
		}
	}
	if len(b.rest) == 0 {
		if b.failure != nil {
			return 0, b.failure
		}
		return 0, io.EOF
	}
	n := copy(p, b.rest[:min(len(b.rest), 64<<10)])
	b.rest = b.rest[n:]
	b.u.sent.Add(int64(n))
	return n, nil
}

func (b *testBody) Close() error { return nil }

// makeBlob returns random content and what it takes to want it.
func makeBlob(size int) ([]byte, Want) {
	content := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(size), byte(size >> 8), byte(size >> 16)}).Read(content)
	return content, Want{
		Blob: sha256.Sum256(content), Size: blob.ByteCount(size),
		Source: upstream.Source{Repository: upstream.Repository{Registry: "registry.test", Name: "a/b"}},
	}
}

// fetch reads the whole blob as a client does and returns what it was given.
func fetch(ctx context.Context, e *Engine, w Want) ([]byte, error) {
	body, err := e.Open(w)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	var out []byte
	for blob.ByteCount(len(out)) < w.Size {
		n, _, err := body.Available(ctx, blob.ByteCount(len(out)))
		if err != nil {
			return out, err
		}
		piece := make([]byte, n)
		_, err = body.ReadAt(piece, int64(len(out)))
		if errors.Is(err, store.ErrNotServable) {
			continue // dropped in between: Available says what became of it
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return out, err
		}
		out = append(out, piece...)
	}
	_, _, err = body.Available(ctx, w.Size)
	return out, err
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Helper()
	w.t.Log(string(bytes.TrimSpace(p)))
	return len(p), nil
}

// A recorder keeps what is sent.
type recorder struct {
	*port
	sent chan wire.Message
}

func (r recorder) Send(_ peer.ID, _ blob.Digest, m wire.Message) error {
	r.sent <- m
	return nil
}
