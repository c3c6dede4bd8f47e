package exchange

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/wire"
)

const (
	// readBuffer holds messages; the bytes of a chunk go past it.
	readBuffer = 4 << 10
	// bufferSize is what is written at once: a piece of a chunk with its header, or messages.
	bufferSize = 32<<10 - 12
)

// A session is an open stream about one blob with one peer. Two goroutines work on it: run's,
// which reads and tells the handler, and the writer.
type session struct {
	exchange *Exchange
	key      key
	place    *place
	geometry blob.Geometry
	stream   network.Stream
	inlet    *inlet
	outlet   *outlet
	reader   *bufio.Reader // of inlet
	frame    [256]byte     // the reader's, for short messages
	opened   chan struct{} // closed when Joined has returned
	wake     chan struct{} // of the writer: there is something new

	mu    sync.Mutex
	queue queue
	asks  asks
	ended bool
	how   ending // once ended
}

// An ending says how a session ends.
type ending struct {
	err   error
	code  network.StreamErrorCode
	flush bool // queued messages are still sent
}

func (e *Exchange) newSession(pl *place, stream network.Stream) *session {
	m := pl.meter
	in := &inlet{stream: stream, meter: m, pace: pace{set: stream.SetReadDeadline, stall: e.config.StallTimeout}}
	return &session{
		exchange: e,
		key:      key{peer: pl.peer},
		place:    pl,
		stream:   stream,
		inlet:    in,
		outlet:   &outlet{stream: stream, meter: m, pace: pace{set: stream.SetWriteDeadline, stall: e.config.StallTimeout}},
		reader:   bufio.NewReaderSize(in, readBuffer),
		opened:   make(chan struct{}),
		wake:     make(chan struct{}, 1),
		asks:     newAsks(),
	}
}

// about fixes the blob, before anybody else knows the session.
func (s *session) about(d blob.Digest, g blob.Geometry) {
	s.key.blob, s.geometry = d, g
}

// run is the life of an established session.
func (s *session) run() {
	e := s.exchange
	defer e.wg.Done() // of establish
	e.handler.Joined(s.key.peer, s.key.blob)
	e.joined(s)
	written := make(chan struct{})
	go func() {
		defer close(written)
		s.write()
	}()
	if err := s.read(); err != nil {
		s.end(err, codeOf(err))
	}
	<-written
	how := s.close()
	e.config.Logger.Debug("session over", "peer", s.key.peer.String(), "blob", s.key.blob.String(), "error", how.err)
	e.handler.Left(s.key.peer, s.key.blob, how.err)
	e.forget(s)
	e.release(s.place)
}

// open lets Connect see the session. Needs Exchange.mu.
func (s *session) open() { close(s.opened) }

// isOpen reports whether Joined has returned and the session does not end yet.
func (s *session) isOpen() bool {
	select {
	case <-s.opened:
		s.mu.Lock()
		defer s.mu.Unlock()
		return !s.ended
	default:
		return false
	}
}

// finish ends the session in good order: what is queued but chunks goes out first.
func (s *session) finish() { s.stop(ending{flush: true}) }

// end ends the session at once, unless it ends already. err is what Left will say.
func (s *session) end(err error, code network.StreamErrorCode) {
	s.stop(ending{err: err, code: code})
}

// stop wakes reader and writer out of whatever they do, without blocking.
func (s *session) stop(how ending) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.ended, s.how = true, how
	s.mu.Unlock()
	s.inlet.giveUp(past())
	if how.flush {
		s.outlet.giveUp(time.Now().Add(s.exchange.config.FlushTimeout))
	} else {
		s.outlet.giveUp(past())
	}
	s.wakeWriter()
}

// over reports whether the session ends.
func (s *session) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// close closes the stream and drops what is queued, once nobody reads or writes any more.
func (s *session) close() ending {
	s.mu.Lock()
	how, dropped := s.how, s.queue.chunks
	s.queue = queue{}
	s.mu.Unlock()
	switch {
	case how.flush || errors.Is(how.err, ErrPeerClosed):
		if err := s.stream.Close(); err != nil {
			_ = s.stream.Reset() // the stream is over either way
		}
	default:
		_ = s.stream.ResetWithError(how.code) // the stream is over either way
	}
	for _, u := range dropped {
		u.done(s.gone())
	}
	return how
}

// gone is why a chunk was not sent, in a session that ends.
func (s *session) gone() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.how.err != nil {
		return fmt.Errorf("%w: %w", ErrNoSession, s.how.err)
	}
	return ErrNoSession
}

func (s *session) wakeWriter() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *session) violation(err error) *ViolationError {
	return &ViolationError{Peer: s.key.peer, Blob: s.key.blob, Err: err}
}

// readError says what an error while reading a frame means.
func (s *session) readError(doing string, err error) error {
	switch {
	case errors.Is(err, wire.ErrMalformed):
		return s.violation(err)
	case err == io.EOF: //nolint:errorlint // wire.ReadFrame promises io.EOF itself between frames
		return ErrPeerClosed
	default:
		return fmt.Errorf("%s: %w", doing, remote(err))
	}
}
