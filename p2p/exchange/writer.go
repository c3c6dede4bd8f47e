package exchange

import (
	"errors"
	"fmt"
	"io"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/wire"
)

// errUnfinished ends the writer in the middle of a frame, in a session that ends.
var errUnfinished = errors.New("the session ends")

// write is the writer: it sends what is queued, messages before chunks, until the session ends.
func (s *session) write() {
	for {
		messages, chunk, over := s.next()
		var err error
		switch {
		case len(messages) > 0:
			err = s.writeMessages(messages)
		case over:
			return
		case chunk != nil:
			err = s.writeChunk(*chunk)
		default:
			<-s.wake
		}
		if err != nil {
			s.abort(err)
			return
		}
	}
}

// next takes all messages, or else one chunk, off the queue. over says that nothing but
// messages is to be sent any more.
func (s *session) next() (messages []wire.Message, chunk *upload, over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended && !s.how.flush {
		return nil, nil, true
	}
	if messages = s.queue.takeMessages(); len(messages) > 0 || s.ended {
		return messages, nil, s.ended
	}
	if len(s.queue.chunks) == 0 {
		return nil, nil, false
	}
	u := s.queue.chunks[0]
	s.queue.chunks[0] = upload{} // what it holds is not kept
	s.queue.chunks = s.queue.chunks[1:]
	s.asks.answer(u.chunk) // a Cancel is too late from here on
	return nil, &u, false
}

// abort ends the session because of the writer. In one that ends already, the stream is not
// fit to be closed in good order any more.
func (s *session) abort(err error) {
	s.end(fmt.Errorf("write to the peer: %w", remote(err)), codeFailed)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.how.flush = false
}

// writeMessages writes them together as far as a buffer goes.
func (s *session) writeMessages(messages []wire.Message) error {
	buf, give := s.exchange.buffer()
	defer give()
	pending := buf[:0]
	for _, m := range messages {
		var err error
		if pending, err = wire.Append(pending, m, s.geometry); err != nil {
			return err // send has seen to it
		}
		if len(pending) >= bufferSize/2 {
			if err := s.writeFrames(pending); err != nil {
				return err
			}
			pending = buf[:0]
		}
	}
	return s.writeFrames(pending)
}

func (s *session) writeFrames(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	s.outlet.begin(s.exchange.config.allowance(blob.ByteCount(len(p))))
	_, err := s.outlet.Write(p)
	return err
}

// writeChunk sends one chunk, and tells who queued it. It returns an error if that ends the
// session.
func (s *session) writeChunk(u upload) error {
	begun, err := s.streamChunk(u)
	if err != nil && !begun {
		u.done(err)
		return s.writeMessages([]wire.Message{wire.Busy{Chunk: u.chunk}})
	}
	u.done(err)
	return err
}

// streamChunk reads the chunk and writes it piece by piece as it comes, with the messages that
// are queued in between. begun says that the peer saw of it.
func (s *session) streamChunk(u upload) (begun bool, err error) {
	body, err := u.body()
	if err != nil {
		return false, fmt.Errorf("open chunk %d: %w", u.chunk, err)
	}
	defer func() { _ = body.Close() }() // it was read only
	buf, give := s.exchange.buffer()
	defer give()
	for left := s.geometry.Length(u.chunk); !begun || left > 0; {
		n := wire.Piece(left)
		piece, err := wire.Append(buf[:0], wire.Chunk{Chunk: u.chunk, Length: n}, s.geometry)
		if err != nil {
			return begun, fmt.Errorf("chunk %d: %w", u.chunk, err) // theirs held only chunks of the blob
		}
		head := len(piece)
		piece = piece[:head+int(n)]
		if _, err := io.ReadFull(body, piece[head:]); err != nil {
			return begun, fmt.Errorf("read chunk %d, %d bytes before its end: %w", u.chunk, left, unexpected(err))
		}
		if messages := s.between(); len(messages) > 0 || !begun {
			if err := s.writeMessages(messages); err != nil {
				return true, err
			}
			s.outlet.begin(s.exchange.config.allowance(left))
		}
		if begun && s.over() {
			return begun, errUnfinished
		}
		begun = true
		if _, err := s.outlet.Write(piece); err != nil {
			return begun, fmt.Errorf("send chunk %d: %w", u.chunk, err)
		}
		left -= n
	}
	return begun, nil
}

// between takes the messages that go before the next piece of a chunk.
func (s *session) between() []wire.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queue.takeMessages()
}

// unexpected makes the end of a body an error that nobody mistakes for its good end.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// buffer lends a buffer of bufferSize bytes.
func (e *Exchange) buffer() (buf []byte, give func()) {
	lent, ok := e.buffers.Get().(*[]byte)
	if !ok {
		panic("exchange: the pool holds something else than buffers")
	}
	return *lent, func() { e.buffers.Put(lent) }
}
