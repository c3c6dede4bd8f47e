package exchange

import (
	"errors"
	"fmt"

	"github.com/shoal-project/shoal/pkg/wire"
)

// send queues a message. It does not block.
func (s *session) send(m wire.Message) error {
	switch m.(type) {
	case wire.Hello, wire.Chunk:
		return fmt.Errorf("%w: %T", ErrMessage, m)
	default:
	}
	if err := wire.Check(m, s.geometry); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	err := s.enqueue(m)
	if errors.Is(err, ErrOverflow) {
		s.end(err, codeFailed)
	}
	s.wakeWriter()
	return err
}

// enqueue puts the message into the queue, or into the book if it need not go out.
func (s *session) enqueue(m wire.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return ErrNoSession
	}
	switch m := m.(type) {
	case wire.Have:
		s.queue.addHave(m.Chunks)
		return nil
	case wire.Reading:
		s.queue.reading = &m
		return nil
	case wire.Ask:
		if fresh, err := s.asks.ask(m.Chunk); !fresh {
			return err
		}
	case wire.Cancel:
		if s.queue.takeBack(wire.Ask(m)) {
			s.asks.unsent(m.Chunk)
			return nil
		}
		if !s.asks.cancel(m.Chunk) {
			return nil
		}
	case wire.Busy:
		if s.asks.theirs[m.Chunk] || !s.asks.answer(m.Chunk) {
			return nil // the chunk itself is queued, or nobody waits
		}
	case wire.Hello, wire.Chunk, wire.Chain, wire.Peers:
	}
	return s.queue.add(m)
}

// sendChunk queues a chunk. It does not block.
func (s *session) sendChunk(u upload) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return ErrNoSession
	}
	if queued, waits := s.asks.theirs[u.chunk]; queued || !waits {
		return fmt.Errorf("%w: chunk %d", ErrNotAsked, u.chunk)
	}
	s.asks.theirs[u.chunk] = true
	s.queue.chunks = append(s.queue.chunks, u)
	s.wakeWriter()
	return nil
}
