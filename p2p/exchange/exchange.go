package exchange

import (
	"context"
	"io"
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/wire"
)

// ProtocolID names the protocol. A change of pkg/wire's messages changes it.
const ProtocolID protocol.ID = "/shoal/exchange/2"

// An Exchange holds this node's sessions. It is safe for concurrent use.
type Exchange struct {
	host    host.Host
	handler Handler
	config  Config
	buffers sync.Pool // of *[]byte, bufferSize each

	wg sync.WaitGroup // everything that works on a stream

	mu       sync.Mutex
	closed   bool
	slots    map[key]*slot
	attempts map[*attempt]struct{}
	places   int // streams that are or may become a session
	peers    map[peer.ID]*presence
	gone     *lru.Cache[peer.ID, *meter] // traffic with peers that have no session now
}

// A key names a session.
type key struct {
	peer peer.ID
	blob blob.Digest
}

// New starts to take sessions on the host. The caller closes the exchange before the host.
func New(h host.Host, handler Handler, config Config) *Exchange {
	gone, err := lru.New[peer.ID, *meter](metersKept)
	if err != nil {
		panic("exchange: a cache of a constant size cannot be made: " + err.Error())
	}
	e := &Exchange{
		host:     h,
		handler:  handler,
		config:   config.withDefaults(),
		buffers:  sync.Pool{New: func() any { b := make([]byte, bufferSize); return &b }},
		slots:    map[key]*slot{},
		attempts: map[*attempt]struct{}{},
		peers:    map[peer.ID]*presence{},
		gone:     gone,
	}
	h.SetStreamHandler(ProtocolID, e.handle)
	return e
}

// Close ends every session, with Left(nil), and returns when nothing more will be reported.
func (e *Exchange) Close() {
	e.host.RemoveStreamHandler(ProtocolID)
	e.mu.Lock()
	e.closed = true
	for a := range e.attempts {
		a.cancel(ErrClosed)
	}
	var sessions []*session
	for _, s := range e.slots {
		if s.session != nil {
			sessions = append(sessions, s.session)
		}
	}
	e.mu.Unlock()
	for _, s := range sessions {
		s.end(nil, codeClosed)
	}
	e.wg.Wait()
}

// Send queues a message for the peer: Have, Ask, Cancel, Busy, Chain, Peers or Reading. It never
// blocks. The message must not be changed afterwards.
//
// Some messages need not go out, and nil is returned all the same: an Ask for a chunk that is
// asked for already, and a Cancel or a Busy for one that nobody waits for any more. A Cancel
// that finds its Ask still queued takes it back. ErrTooManyAsks, or an error that wraps
// wire.ErrMalformed, refuses the message alone; ErrOverflow ends the session.
func (e *Exchange) Send(p peer.ID, d blob.Digest, m wire.Message) error {
	s, err := e.session(key{p, d})
	if err != nil {
		return err
	}
	return s.send(m)
}

// SendChunk queues a chunk that the peer asked for, behind all messages and the chunks queued
// before it. body opens it when its turn comes, and must yield its length in bytes; it is
// closed in the end. If body cannot be opened or yields nothing, the peer gets Busy; if it ends
// or fails later, the session ends.
//
// It never blocks. If it returns nil, done is called exactly once, from another goroutine: with
// nil when the stream took the last byte, which on p2p's hosts is when it is as good as sent; with
// ErrCancelled if the peer gave the chunk up before it began; or with why it could not be sent. If it returns an error, done is never called.
func (e *Exchange) SendChunk(p peer.ID, d blob.Digest, i blob.ChunkIndex, body func() (io.ReadCloser, error), done func(error)) error {
	s, err := e.session(key{p, d})
	if err != nil {
		return err
	}
	return s.sendChunk(upload{chunk: i, body: body, done: done})
}

// Disconnect ends the session, if there is one. Messages that are queued are still sent, chunks
// are not. It does not block: Left follows.
func (e *Exchange) Disconnect(p peer.ID, d blob.Digest) {
	if s, err := e.session(key{p, d}); err == nil {
		s.finish()
	}
}

// Sessions is the number of open sessions.
func (e *Exchange) Sessions() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for _, s := range e.slots {
		if s.session != nil {
			n++
		}
	}
	return n
}

func (e *Exchange) session(k key) (*session, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if s := e.slots[k]; s != nil && s.session != nil {
		return s.session, nil
	}
	return nil, ErrNoSession
}

// handle is the stream handler: it turns a peer's stream into a session and stays until that is over.
func (e *Exchange) handle(stream network.Stream) {
	ctx, cancel := context.WithTimeout(context.Background(), e.config.HelloTimeout)
	defer cancel()
	p := stream.Conn().RemotePeer()
	ctx, a, err := e.arrive(ctx, p)
	if err != nil {
		_ = stream.ResetWithError(codeOf(err)) // there is nobody to tell
		return
	}
	defer e.wg.Done()
	s, err := e.accept(ctx, a, stream)
	e.finishAttempt(a)
	if err != nil {
		e.turnAway(p, stream, err)
		e.release(a.place)
		return
	}
	cancel()
	s.run()
}
