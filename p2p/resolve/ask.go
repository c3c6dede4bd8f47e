package resolve

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	// asksAtOnce is how many peers AskMany waits for at one time.
	asksAtOnce = 8
	// maxAsked is how many peers AskMany asks at all.
	maxAsked = 256
)

// Ask puts the question to the peer. The answer's form and its manifest's digest are proven;
// an error that wraps ErrMalformed means that the peer broke the protocol. It takes at most
// Config.Timeout.
func (s *Service) Ask(ctx context.Context, p peer.ID, q Question) (Answer, error) {
	if err := q.Validate(); err != nil {
		return Answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	a, err := s.ask(ctx, p, q)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause // the stream's error says only that it was reset
		}
		return Answer{}, fmt.Errorf("ask %s: %w", p, err)
	}
	return a, nil
}

func (s *Service) ask(ctx context.Context, p peer.ID, q Question) (Answer, error) {
	stream, err := s.host.NewStream(ctx, p, Protocol)
	if err != nil {
		return Answer{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = stream.Reset() })
	defer stop()
	defer func() { _ = stream.Reset() }() // all was read, or it failed
	if err := writeMessage(stream, encodeQuestion(q)); err != nil {
		return Answer{}, fmt.Errorf("send the question: %w", err)
	}
	if err := stream.CloseWrite(); err != nil {
		return Answer{}, fmt.Errorf("send the question: %w", err)
	}
	message, err := readMessage(stream, maxAnswer)
	if err != nil {
		return Answer{}, err
	}
	a, err := decodeAnswer(message)
	if err != nil {
		return Answer{}, err
	}
	if err := check(q, a); err != nil {
		return Answer{}, err
	}
	return a, nil
}

// A Reply is what came of asking one peer.
type Reply struct {
	Peer   peer.ID
	Answer Answer
	Err    error
}

// AskMany puts the question to the peers, eight at a time, and yields their replies as they
// come, at most maxAsked. When the loop is left, the questions still open are given up.
func (s *Service) AskMany(ctx context.Context, peers []peer.ID, q Question) iter.Seq[Reply] {
	return func(yield func(Reply) bool) {
		ctx, cancel := context.WithCancel(ctx)
		peers := peers[:min(len(peers), maxAsked)]
		queue := make(chan peer.ID, len(peers))
		for _, p := range peers {
			queue <- p
		}
		close(queue)
		replies := make(chan Reply, len(peers)) // room for all: nobody blocks
		var askers sync.WaitGroup
		defer askers.Wait()
		defer cancel()
		for range min(asksAtOnce, len(peers)) {
			askers.Go(func() { s.askAll(ctx, queue, replies, q) })
		}
		for range peers {
			if !yield(<-replies) {
				return
			}
		}
	}
}

// askAll puts the question to the queued peers. Once ctx ends they are not asked any more, and
// the replies say so.
func (s *Service) askAll(ctx context.Context, queue <-chan peer.ID, replies chan<- Reply, q Question) {
	for p := range queue {
		r := Reply{Peer: p, Err: context.Cause(ctx)}
		if r.Err == nil {
			r.Answer, r.Err = s.Ask(ctx, p, q)
		}
		replies <- r
	}
}
