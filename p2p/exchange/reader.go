package exchange

import (
	"errors"
	"fmt"
	"io"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/wire"
)

// read takes frames and tells the handler, until the session ends.
func (s *session) read() error {
	limit := wire.MaxFrame(s.geometry)
	patience := s.exchange.config.allowance(blob.ByteCount(limit))
	buf := make([]byte, 0, 256)
	for !s.over() {
		if s.reader.Buffered() == 0 {
			s.inlet.idle()
			if _, err := s.reader.Peek(1); err != nil {
				return s.readError("wait for a message", err)
			}
		}
		s.inlet.begin(patience)
		payload, err := wire.ReadFrame(s.reader, limit, buf)
		if err != nil {
			return s.readError("read a message", err)
		}
		m, err := wire.Decode(payload, s.geometry)
		if err != nil {
			return s.violation(err)
		}
		if err := s.receive(m); err != nil {
			return err
		}
	}
	return nil
}

// receive handles one message. An error ends the session.
func (s *session) receive(m wire.Message) error {
	switch m := m.(type) {
	case wire.Hello:
		return s.violation(errors.New("said hello twice"))
	case wire.Ask:
		return s.receiveAsk(m)
	case wire.Cancel:
		return s.receiveCancel(m)
	case wire.Chunk:
		return s.receiveChunk(m)
	case wire.Busy:
		return s.receiveBusy(m)
	case wire.Have, wire.Chain, wire.Peers, wire.Reading:
		s.tell(m)
	}
	return nil
}

func (s *session) tell(m wire.Message) {
	s.exchange.handler.Received(s.key.peer, s.key.blob, m)
}

func (s *session) receiveAsk(m wire.Ask) error {
	s.mu.Lock()
	err := s.asks.asked(m.Chunk)
	s.mu.Unlock()
	if err != nil {
		return s.violation(err)
	}
	s.tell(m)
	return nil
}

// receiveCancel drops the chunk if it is still queued. If it is answered already, that crossed
// with the Cancel, which means nothing then.
func (s *session) receiveCancel(m wire.Cancel) error {
	s.mu.Lock()
	dropped, queued := s.queue.dropChunk(m.Chunk)
	var err error
	waits := s.asks.answer(m.Chunk)
	if waits {
		err = s.queue.add(wire.Busy(m))
	}
	s.mu.Unlock()
	if queued {
		dropped.done(ErrCancelled)
	}
	if waits {
		s.wakeWriter()
		s.tell(m)
	}
	return err
}

func (s *session) receiveBusy(m wire.Busy) error {
	s.mu.Lock()
	waited, err := s.asks.answered(m.Chunk)
	s.mu.Unlock()
	if err != nil {
		return s.violation(err)
	}
	if waited {
		s.tell(m)
	}
	return nil
}

func (s *session) receiveChunk(m wire.Chunk) error {
	s.mu.Lock()
	_, err := s.asks.answered(m.Chunk)
	s.mu.Unlock()
	if err != nil {
		return s.violation(err)
	}
	s.inlet.begin(s.exchange.config.allowance(m.Length))
	b := &body{session: s, left: m.Length}
	err = s.exchange.handler.Chunk(s.key.peer, s.key.blob, m.Chunk, b)
	left, broken := b.take()
	switch {
	case broken != nil:
		return broken
	case err != nil:
		return fmt.Errorf("take chunk %d: %w", m.Chunk, err)
	default:
		return s.discard(left)
	}
}

// discard reads what the handler left of a chunk.
func (s *session) discard(n blob.ByteCount) error {
	if n == 0 {
		return nil
	}
	buf, give := s.exchange.buffer()
	defer give()
	rest := &body{session: s, left: n}
	for {
		if _, err := rest.Read(buf); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// A body is what the handler reads a chunk from. It belongs to the reader's goroutine.
type body struct {
	session *session
	left    blob.ByteCount
	err     error // of the stream: it ends the session
	taken   bool
}

// Read implements io.Reader. io.EOF means that the chunk is complete.
func (b *body) Read(p []byte) (int, error) {
	switch {
	case b.taken:
		return 0, ErrNoSession
	case b.err != nil:
		return 0, b.err
	case b.left == 0:
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	}
	n, err := b.session.reader.Read(p[:min(blob.ByteCount(len(p)), b.left)])
	b.left -= blob.ByteCount(n)
	if err != nil && b.left > 0 {
		b.err = fmt.Errorf("read a chunk, %d bytes before its end: %w", b.left, remote(unexpected(err)))
		return n, b.err
	}
	return n, nil
}

// take ends the handler's use of the body: a reader that was kept would steal later frames.
func (b *body) take() (left blob.ByteCount, err error) {
	b.taken = true
	return b.left, b.err
}
