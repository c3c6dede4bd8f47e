package exchange

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"go.uber.org/goleak"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

func newHost(tb testing.TB) host.Host {
	tb.Helper()
	h, err := libp2p.New(
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"),
		// As p2p does: with ports reused, two that dial each other at once may meet as two clients.
		libp2p.Transport(tcp.NewTCPTransport, tcp.DisableReuseport()),
		libp2p.Security(libp2ptls.ID, libp2ptls.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.DisableRelay(),
		libp2p.DisableMetrics(),
		libp2p.ResourceManager(nil),
	)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := h.Close(); err != nil {
			tb.Error(err)
		}
	})
	return h
}

// introduce tells each host where the others listen.
func introduce(hosts ...host.Host) {
	for _, a := range hosts {
		for _, b := range hosts {
			if a != b {
				a.Peerstore().AddAddrs(b.ID(), b.Addrs(), time.Hour)
			}
		}
	}
}

// An event is one call of the handler.
type event struct {
	what  string // joined, received, chunk, left
	peer  peer.ID
	blob  blob.Digest
	msg   wire.Message
	chunk blob.ChunkIndex
	body  []byte
	err   error // of the body, or of Left
}

func (e event) String() string {
	return fmt.Sprintf("%s %s %T%v chunk %d (%d bytes) %v", e.what, e.blob.Short(), e.msg, e.msg, e.chunk, len(e.body), e.err)
}

// A node is a host with an exchange, and what its handler saw.
type node struct {
	tb testing.TB
	host.Host
	*Exchange
	accept func(ctx context.Context, p peer.ID, d blob.Digest, size blob.ByteCount) error
	joined func(p peer.ID, d blob.Digest)
	take   func(i blob.ChunkIndex, body io.Reader) ([]byte, error)

	mu     sync.Mutex
	events []event
	more   chan struct{} // closed and made anew with each event

	violations []*ViolationError
}

func newNode(tb testing.TB, config Config) *node {
	tb.Helper()
	n := &node{tb: tb, Host: newHost(tb), more: make(chan struct{})}
	n.attach(config)
	return n
}

func (n *node) attach(config Config) {
	config.Violated = func(p peer.ID, v *ViolationError) {
		n.mu.Lock()
		defer n.mu.Unlock()
		if v.Peer != p {
			n.tb.Errorf("violation of %s reported for %s", v.Peer, p)
		}
		n.violations = append(n.violations, v)
		n.tellWaiters()
	}
	n.Exchange = New(n.Host, n, config)
	n.tb.Cleanup(n.Exchange.Close)
}

// pair returns two nodes that know each other, the first with the smaller ID.
func pair(tb testing.TB, config Config) (*node, *node) {
	tb.Helper()
	a, b := newNode(tb, config), newNode(tb, config)
	introduce(a.Host, b.Host)
	if a.ID() > b.ID() {
		a, b = b, a
	}
	return a, b
}

// Close is ambiguous in a node; tests mean the exchange.
func (n *node) Close() { n.Exchange.Close() }

func (n *node) Accept(ctx context.Context, p peer.ID, d blob.Digest, size blob.ByteCount) error {
	if n.accept != nil {
		return n.accept(ctx, p, d, size)
	}
	return nil
}

func (n *node) Joined(p peer.ID, d blob.Digest) {
	if n.joined != nil {
		n.joined(p, d)
	}
	n.add(event{what: "joined", peer: p, blob: d})
}

func (n *node) Received(p peer.ID, d blob.Digest, m wire.Message) {
	n.add(event{what: "received", peer: p, blob: d, msg: m})
}

func (n *node) Chunk(p peer.ID, d blob.Digest, i blob.ChunkIndex, body io.Reader) error {
	take := n.take
	if take == nil {
		take = func(_ blob.ChunkIndex, body io.Reader) ([]byte, error) { return io.ReadAll(body) }
	}
	got, err := take(i, body)
	n.add(event{what: "chunk", peer: p, blob: d, chunk: i, body: got, err: err})
	return err
}

func (n *node) Left(p peer.ID, d blob.Digest, err error) {
	n.add(event{what: "left", peer: p, blob: d, err: err})
}

func (n *node) add(e event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	open := 0
	for _, old := range n.events {
		if old.peer == e.peer && old.blob == e.blob {
			switch old.what {
			case "joined":
				open++
			case "left":
				open--
			}
		}
	}
	if (e.what == "joined") != (open == 0) {
		n.tb.Errorf("%v while %d sessions are open", e, open)
	}
	n.events = append(n.events, e)
	n.tellWaiters()
}

func (n *node) tellWaiters() {
	close(n.more)
	n.more = make(chan struct{})
}

// until waits until ok says so of what happened.
func (n *node) until(what string, ok func() bool) {
	n.tb.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		n.mu.Lock()
		done, more := ok(), n.more
		n.mu.Unlock()
		if done {
			return
		}
		select {
		case <-more:
		case <-timeout.C:
			n.mu.Lock()
			defer n.mu.Unlock()
			n.tb.Fatalf("no %s; there were %v", what, n.events)
		}
	}
}

// wait waits for the nth event (from 1) that matches, and returns it.
func (n *node) wait(what string, nth int, match func(event) bool) event {
	n.tb.Helper()
	var found event
	n.until(what, func() bool {
		left := nth
		for _, e := range n.events {
			if match(e) {
				if left--; left == 0 {
					found = e
					return true
				}
			}
		}
		return false
	})
	return found
}

func (n *node) waitLeft(d blob.Digest) error {
	n.tb.Helper()
	return n.wait("left", 1, func(e event) bool { return e.what == "left" && e.blob == d }).err
}

func (n *node) waitJoined(d blob.Digest) {
	n.tb.Helper()
	n.wait("joined", 1, func(e event) bool { return e.what == "joined" && e.blob == d })
}

func (n *node) waitMessage(d blob.Digest, m wire.Message) {
	n.tb.Helper()
	n.wait(fmt.Sprintf("%T", m), 1, func(e event) bool { return e.what == "received" && e.blob == d && sameMessage(e.msg, m) })
}

func (n *node) waitChunk(d blob.Digest, i blob.ChunkIndex) event {
	n.tb.Helper()
	return n.wait(fmt.Sprintf("chunk %d", i), 1, func(e event) bool { return e.what == "chunk" && e.blob == d && e.chunk == i })
}

// count is how often something happened about the blob.
func (n *node) count(what string, d blob.Digest) int {
	c := 0
	for _, e := range n.seen() {
		if e.what == what && e.blob == d {
			c++
		}
	}
	return c
}

func sameMessage(a, b wire.Message) bool {
	encode := func(m wire.Message) []byte {
		size := blob.ByteCount(0)
		if h, ok := m.(wire.Have); ok {
			size = blob.ByteCount(h.Chunks.Len()) * blob.MinChunk
		}
		g, err := blob.NewGeometry(size)
		if err != nil {
			panic(err)
		}
		frame, err := wire.Append(nil, m, g)
		if err != nil {
			return fmt.Appendf(nil, "%T%v", m, m)
		}
		return frame
	}
	return bytes.Equal(encode(a), encode(b))
}

func (n *node) connect(p *node, d blob.Digest, size blob.ByteCount) {
	n.tb.Helper()
	if err := n.Exchange.Connect(n.tb.Context(), p.ID(), d, size); err != nil {
		n.tb.Fatal(err)
	}
	p.waitJoined(d)
}

func (n *node) send(p *node, d blob.Digest, m wire.Message) {
	n.tb.Helper()
	if err := n.Send(p.ID(), d, m); err != nil {
		n.tb.Fatalf("send %T: %v", m, err)
	}
}

// serve queues the chunk's true bytes and returns where its end is told.
func (n *node) serve(p peer.ID, d blob.Digest, g blob.Geometry, i blob.ChunkIndex) <-chan error {
	n.tb.Helper()
	return n.serveFrom(p, d, i, func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(chunkOf(g, i))), nil
	})
}

func (n *node) serveFrom(p peer.ID, d blob.Digest, i blob.ChunkIndex, body func() (io.ReadCloser, error)) <-chan error {
	n.tb.Helper()
	done := make(chan error, 2) // a second would show
	if err := n.SendChunk(p, d, i, body, func(err error) { done <- err }); err != nil {
		n.tb.Fatalf("send chunk %d: %v", i, err)
	}
	return done
}

// result waits for the one call of done.
func result(tb testing.TB, done <-chan error) error {
	tb.Helper()
	select {
	case err := <-done:
		if len(done) > 0 {
			tb.Error("done was called twice")
		}
		return err
	case <-time.After(patience):
		tb.Fatal("done was never called")
		return nil
	}
}

func geometryOf(tb testing.TB, size blob.ByteCount) blob.Geometry {
	tb.Helper()
	g, err := blob.NewGeometry(size)
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

// chunkOf makes up the bytes of a chunk.
func chunkOf(g blob.Geometry, i blob.ChunkIndex) []byte {
	pattern := fmt.Appendf(nil, "chunk %d of %d; ", i, g.Size())
	return bytes.Repeat(pattern, int(g.Length(i))/len(pattern)+1)[:g.Length(i)]
}

func digestOf(n byte) blob.Digest { return blob.Digest{0xd, n} }

func setOf(n blob.ChunkIndex, chunks ...blob.ChunkIndex) blob.Bitset {
	set := blob.NewBitset(n)
	for _, i := range chunks {
		set.Add(i)
	}
	return set
}

func isViolation(err error) bool {
	v, ok := errors.AsType[*ViolationError](err)
	return ok && v.Violation()
}

// seen is what happened so far.
func (n *node) seen() []event {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.events)
}

// kinds lists what happened, for comparing orders.
func (n *node) kinds() []string {
	var list []string
	for _, e := range n.seen() {
		switch e.what {
		case "received":
			list = append(list, fmt.Sprintf("%T", e.msg))
		case "chunk":
			list = append(list, fmt.Sprintf("chunk %d", e.chunk))
		default:
			list = append(list, e.what)
		}
	}
	return list
}
