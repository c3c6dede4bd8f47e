package p2p

import (
	"context"
	"io"
	"math"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	goyamux "github.com/libp2p/go-yamux/v5"
)

const (
	// frameHeader is the bytes of the header of yamux's frames.
	frameHeader = 12
	// streamWindow is how much one stream may have in flight: a chunk of 4 MiB, which is
	// also more than 10 Gbit/s x 3 ms.
	streamWindow = 4 << 20
	// A silent peer is noticed within keepAlive + writeTimeout.
	keepAlive    = 10 * time.Second
	writeTimeout = 10 * time.Second

	// lineLimit is how many bytes of a connection wait for its socket before large writes wait
	// too. A message waits for what is in line before it: 5 ms of 100 Mbit/s.
	lineLimit = 32 << 10
	// largeWrite is the size from which a write waits in line. Messages are smaller.
	largeWrite = 4 << 10
)

// A muxer is yamux with a short line in front of the socket. yamux alone takes 64 writes of
// 64 KiB before it makes anybody wait, and the kernel megabytes more: a message of a few bytes
// then comes after all of them, and a chunk counts as sent long before it is. And it bounds what
// yamux keeps of what nobody reads.
type muxer struct {
	yamux  *yamux.Transport
	unread *unread
}

// newMuxer returns a muxer with windows for chunks and a short patience with dead peers.
func newMuxer() muxer {
	config := *goyamux.DefaultConfig()
	config.MaxStreamWindowSize = streamWindow
	config.KeepAliveInterval = keepAlive
	config.ConnectionWriteTimeout = writeTimeout
	config.MaxIncomingStreams = math.MaxUint32 // the resource manager counts
	config.ReadBufSize = 0                     // TLS buffers already
	config.LogOutput = io.Discard
	return muxer{yamux: (*yamux.Transport)(&config), unread: newUnread()}
}

// NewConn implements network.Multiplexer.
func (m muxer) NewConn(nc net.Conn, isServer bool, scope network.PeerScope) (network.MuxedConn, error) {
	l, in := &line{}, newInbox(m.unread)
	c := &countedConn{Conn: nc, line: l, in: follower{inbox: in}}
	if secured, ok := nc.(interface{ NetConn() net.Conn }); ok { // crypto/tls
		c.socket, _ = secured.NetConn().(*socket)
	}
	inner, err := m.yamux.NewConn(c, isServer, scope)
	if err != nil {
		return nil, err
	}
	return &muxedConn{MuxedConn: inner, line: l, inbox: in}, nil
}

// A line counts the bytes that streams of one connection wrote and yamux has not written to
// the socket yet. Who finds it too long waits for its turn, one stream after the other. It is
// safe for concurrent use; the zero value is ready.
type line struct {
	mu      sync.Mutex
	length  int  // bytes
	closed  bool // nobody waits any more
	waiting []*place
}

// A place is that of a write which waits.
type place struct {
	bytes int
	turn  chan struct{} // closed when the write is in the line
}

// enter lets n bytes into the line, or returns a place to wait at.
func (l *line) enter(n int) *place {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n < largeWrite || l.closed || len(l.waiting) == 0 && l.length < lineLimit {
		l.length += n
		return nil
	}
	p := &place{bytes: n, turn: make(chan struct{})}
	l.waiting = append(l.waiting, p)
	return p
}

// leave takes n bytes out of the line.
func (l *line) leave(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.length -= n
	l.admit()
}

// giveUp leaves the place, or the line if its turn has come meanwhile.
func (l *line) giveUp(p *place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if at := slices.Index(l.waiting, p); at >= 0 {
		l.waiting = slices.Delete(l.waiting, at, at+1)
		return
	}
	l.length -= p.bytes
	l.admit()
}

// close lets everybody in: the connection is over, which yamux tells them.
func (l *line) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.admit()
}

// admit lets those in whose turn it is. Needs mu.
func (l *line) admit() {
	for len(l.waiting) > 0 && (l.closed || l.length < lineLimit) {
		next := l.waiting[0]
		l.waiting = slices.Delete(l.waiting, 0, 1)
		l.length += next.bytes
		close(next.turn)
	}
}

// A countedConn is the connection below yamux, which writes one frame at a time, and reads
// the header of one and then the rest, with nothing to do before that is whole.
type countedConn struct {
	net.Conn
	line   *line
	in     follower // the reader's
	socket *socket  // below Conn; nil if there is none
}

// Read implements net.Conn.
func (c *countedConn) Read(p []byte) (int, error) {
	if c.socket != nil {
		c.socket.wanted = len(p)
	}
	n, err := c.Conn.Read(p)
	c.in.follow(p[:n])
	return n, err
}

// Write implements net.Conn.
func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if len(p) < frameHeader {
		return n, err
	}
	f := frame(p[:frameHeader])
	if f.isData() {
		c.line.leave(len(p) - frameHeader)
	}
	if f.has(flagRST) {
		c.in.inbox.end(f.stream()) // it may be one that nobody here was given
	}
	return n, err
}

// Close implements net.Conn.
func (c *countedConn) Close() error {
	c.line.close()
	c.in.inbox.close()
	return c.Conn.Close()
}

// A muxedConn gives out streams that wait in line.
type muxedConn struct {
	network.MuxedConn
	line  *line
	inbox *inbox
}

// OpenStream implements network.MuxedConn.
func (c *muxedConn) OpenStream(ctx context.Context) (network.MuxedStream, error) {
	s, err := c.MuxedConn.OpenStream(ctx)
	if err != nil {
		return nil, err
	}
	return c.stream(s), nil
}

// AcceptStream implements network.MuxedConn.
func (c *muxedConn) AcceptStream() (network.MuxedStream, error) {
	s, err := c.MuxedConn.AcceptStream()
	if err != nil {
		return nil, err
	}
	return c.stream(s), nil
}

// A muxedStream waits in line before each large write, and counts what is read.
type muxedStream struct {
	network.MuxedStream
	id    uint32
	line  *line
	inbox *inbox

	mu       sync.Mutex
	deadline time.Time     // of writes
	moved    chan struct{} // closed and made anew when the deadline is another
}

func (c *muxedConn) stream(s network.MuxedStream) *muxedStream {
	id := idOf(s)
	c.inbox.begin(id)
	return &muxedStream{MuxedStream: s, id: id, line: c.line, inbox: c.inbox, moved: make(chan struct{})}
}

// Read implements network.MuxedStream.
func (s *muxedStream) Read(p []byte) (int, error) {
	n, err := s.MuxedStream.Read(p)
	s.inbox.read(s.id, n)
	return n, err
}

// Close implements network.MuxedStream.
func (s *muxedStream) Close() error {
	defer s.inbox.end(s.id)
	return s.MuxedStream.Close()
}

// Reset implements network.MuxedStream.
func (s *muxedStream) Reset() error {
	defer s.inbox.end(s.id)
	return s.MuxedStream.Reset()
}

// ResetWithError implements network.MuxedStream.
func (s *muxedStream) ResetWithError(code network.StreamErrorCode) error {
	defer s.inbox.end(s.id)
	return s.MuxedStream.ResetWithError(code)
}

// Write implements network.MuxedStream. When it returns, all of p but the line's length was
// written to the socket.
func (s *muxedStream) Write(p []byte) (int, error) {
	written := 0
	for first := true; first || written < len(p); first = false {
		piece := p[written:min(written+lineLimit, len(p))]
		if !s.wait(len(piece)) {
			return written, os.ErrDeadlineExceeded
		}
		n, err := s.MuxedStream.Write(piece)
		s.line.leave(len(piece) - n) // what yamux did not take
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// wait enters the line with n bytes, or reports false when the deadline passed before.
func (s *muxedStream) wait(n int) bool {
	place := s.line.enter(n)
	for place != nil {
		s.mu.Lock()
		deadline, moved := s.deadline, s.moved
		s.mu.Unlock()
		var late <-chan time.Time
		if !deadline.IsZero() {
			timer := time.NewTimer(time.Until(deadline))
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-place.turn:
			return true
		case <-moved:
		case <-late:
			s.line.giveUp(place)
			return false
		}
	}
	return true
}

// SetDeadline implements network.MuxedStream.
func (s *muxedStream) SetDeadline(t time.Time) error {
	s.move(t)
	return s.MuxedStream.SetDeadline(t)
}

// SetWriteDeadline implements network.MuxedStream.
func (s *muxedStream) SetWriteDeadline(t time.Time) error {
	s.move(t)
	return s.MuxedStream.SetWriteDeadline(t)
}

func (s *muxedStream) move(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline = t
	close(s.moved)
	s.moved = make(chan struct{})
}
