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
	patience := s.exchange.config.allowance(blob.ByteCount(wire.MaxFrame(s.geometry)))
	for !s.over() {
		if s.reader.Buffered() == 0 {
			s.inlet.idle()
			if _, err := s.reader.Peek(1); err != nil {
				return s.readError("wait for a message", err)
			}
		}
		s.inlet.begin(patience)
		m, err := s.message()
		if err != nil {
			return err
		}
		if err := s.receive(m); err != nil {
			return err
		}
	}
	return nil
}

// message reads one message. An error ends the session.
func (s *session) message() (wire.Message, error) {
	payload, err := wire.ReadFrame(s.reader, wire.MaxFrame(s.geometry), s.frame[:0])
	if err != nil {
		return nil, s.readError("read a message", err)
	}
	m, err := wire.Decode(payload, s.geometry)
	if err != nil {
		return nil, s.violation(err)
	}
	return m, nil
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
	whole := s.geometry.Length(m.Chunk)
	if m.Length != wire.Piece(whole) {
		return s.violation(fmt.Errorf("began chunk %d with its end", m.Chunk))
	}
	s.mu.Lock()
	_, err := s.asks.answered(m.Chunk)
	s.mu.Unlock()
	if err != nil {
		return s.violation(err)
	}
	s.inlet.begin(s.exchange.config.allowance(whole))
	b := &body{session: s, chunk: m.Chunk, left: whole, piece: m.Length}
	err = s.exchange.handler.Chunk(s.key.peer, s.key.blob, m.Chunk, b)
	rest := b.take()
	switch {
	case rest.err != nil:
		return rest.err
	case err != nil:
		return fmt.Errorf("take chunk %d: %w", m.Chunk, err)
	default:
		return rest.discard()
	}
}

// A body is what the handler reads a chunk from. It belongs to the reader's goroutine, which
// also receives the messages between the pieces.
type body struct {
	session *session
	chunk   blob.ChunkIndex
	left    blob.ByteCount // of the chunk
	piece   blob.ByteCount // of left, what is to come of this piece
	err     error          // it ends the session
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
	if b.piece == 0 {
		if b.err = b.nextPiece(); b.err != nil {
			return 0, b.err
		}
	}
	n, err := b.session.reader.Read(p[:min(blob.ByteCount(len(p)), b.piece)])
	b.left -= blob.ByteCount(n)
	b.piece -= blob.ByteCount(n)
	if err != nil && b.left > 0 {
		b.err = fmt.Errorf("read a chunk, %d bytes before its end: %w", b.left, remote(unexpected(err)))
		return n, b.err
	}
	return n, nil
}

// nextPiece reads up to the next piece. The chunk's time goes on meanwhile.
func (b *body) nextPiece() error {
	for !b.session.over() {
		m, err := b.session.message()
		if errors.Is(err, ErrPeerClosed) {
			return fmt.Errorf("read a chunk, %d bytes before its end: %w", b.left, io.ErrUnexpectedEOF)
		}
		if err != nil {
			return err
		}
		header, ok := m.(wire.Chunk)
		switch {
		case !ok:
			if err := b.session.receive(m); err != nil {
				return err
			}
		case header.Chunk != b.chunk || header.Length != wire.Piece(b.left):
			return b.session.violation(fmt.Errorf("sent %d bytes of chunk %d inside chunk %d", header.Length, header.Chunk, b.chunk))
		default:
			b.piece = header.Length
			return nil
		}
	}
	return b.session.gone()
}

// take ends the handler's use of the body: a reader that was kept would steal later frames.
// It returns what the handler left.
func (b *body) take() *body {
	rest := *b
	b.taken = true
	return &rest
}

// discard reads to the end of the chunk.
func (b *body) discard() error {
	if b.left == 0 {
		return nil
	}
	buf, give := b.session.exchange.buffer()
	defer give()
	for {
		if _, err := b.Read(buf); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
