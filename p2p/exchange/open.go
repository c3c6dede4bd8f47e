package exchange

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/wire"
)

// service is the name under which libp2p's resource manager counts the streams.
const service = "shoal.exchange"

// Connect opens a session about the blob with the peer, and returns nil once Handler.Joined has
// returned; also if there is one already, or the peer opens one at the same moment. On an error
// there was no session. The peer's addresses come from the host's peerstore.
func (e *Exchange) Connect(ctx context.Context, p peer.ID, d blob.Digest, size blob.ByteCount) error {
	g, err := blob.NewGeometry(size)
	if err != nil {
		return fmt.Errorf("open a session: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, e.config.ConnectTimeout)
	defer cancel()
	for {
		attemptCtx, a, wait, err := e.claim(ctx, key{p, d})
		switch {
		case err != nil:
			return fmt.Errorf("open a session: %w", err)
		case wait != nil:
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return fmt.Errorf("wait for a session: %w", context.Cause(ctx))
			}
		case a == nil:
			return nil
		}
		err = e.open(attemptCtx, key{p, d}, g, a)
		if !errors.Is(err, errSupplanted) {
			return err
		}
	}
}

// open opens a stream and makes it a session.
func (e *Exchange) open(ctx context.Context, k key, g blob.Geometry, a *attempt) error {
	s, err := e.offer(ctx, k, g, a)
	e.leave(k, a)
	e.finishAttempt(a)
	if err != nil {
		e.release(a.place)
		return fmt.Errorf("open a session: %w", err)
	}
	go s.run() // Close waits for it
	<-s.opened
	return nil
}

// offer says Hello on a new stream, and returns the session when the peer says it too.
func (e *Exchange) offer(ctx context.Context, k key, g blob.Geometry, a *attempt) (*session, error) {
	stream, err := e.host.NewStream(ctx, k.peer, ProtocolID)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("open a stream: %w", err)
	}
	s := e.newSession(a.place, stream)
	ctx, cancel := context.WithTimeout(ctx, e.config.HelloTimeout)
	defer cancel()
	err = within(ctx, stream, func() error {
		if err := e.reserve(stream); err != nil {
			return err
		}
		s.about(k.blob, g)
		if err := s.sayHello(); err != nil {
			return err
		}
		hello, err := s.hearHello()
		if err != nil {
			return err
		}
		if hello.Blob != k.blob || hello.Size != g.Size() {
			return s.violation(fmt.Errorf("answered about %s of %d bytes", hello.Blob, hello.Size))
		}
		return nil
	})
	if err == nil {
		err = e.establish(k, a, s)
	}
	if err != nil {
		_ = stream.ResetWithError(codeOf(err)) // the stream is given up
		return nil, err
	}
	return s, nil
}

// accept answers the Hello of a peer's stream.
func (e *Exchange) accept(ctx context.Context, a *attempt, stream network.Stream) (*session, error) {
	s := e.newSession(a.place, stream)
	err := within(ctx, stream, func() error {
		if err := e.reserve(stream); err != nil {
			return err
		}
		hello, err := s.hearHello()
		if err != nil {
			return err
		}
		g, err := blob.NewGeometry(hello.Size)
		if err != nil {
			return s.violation(err) // wire has seen to it
		}
		s.about(hello.Blob, g)
		if err := e.handler.Accept(ctx, s.key.peer, hello.Blob, hello.Size); err != nil {
			return fmt.Errorf("%w: %w", ErrRefused, err)
		}
		if err := e.commit(ctx, s.key, a); err != nil {
			return err
		}
		return s.sayHello()
	})
	if err == nil {
		err = e.establish(s.key, a, s)
	}
	if err != nil {
		e.leave(s.key, a)
		return nil, err
	}
	return s, nil
}

// turnAway ends a peer's stream that became no session.
func (e *Exchange) turnAway(p peer.ID, stream network.Stream, err error) {
	_ = stream.ResetWithError(codeOf(err)) // the stream is given up
	e.config.Logger.Debug("session refused", "peer", p.String(), "error", err)
	if v, ok := errors.AsType[*ViolationError](err); ok {
		e.config.Violated(p, v)
	}
}

// reserve has libp2p count what a session holds in memory.
func (e *Exchange) reserve(stream network.Stream) error {
	if err := stream.Scope().SetService(service); err != nil {
		return fmt.Errorf("%w: %w", ErrTooMany, err)
	}
	if err := stream.Scope().ReserveMemory(readBuffer+bufferSize, network.ReservationPriorityMedium); err != nil {
		return fmt.Errorf("%w: %w", ErrTooMany, err)
	}
	return nil
}

// sayHello writes the Hello of the blob that the session is about.
func (s *session) sayHello() error {
	frame, err := wire.Append(nil, wire.Hello{Blob: s.key.blob, Size: s.geometry.Size()}, s.geometry)
	if err != nil {
		return err
	}
	if _, err := s.outlet.Write(frame); err != nil {
		return fmt.Errorf("say hello: %w", remote(err))
	}
	return nil
}

// hearHello reads the first frame.
func (s *session) hearHello() (wire.Hello, error) {
	payload, err := wire.ReadFrame(s.reader, wire.MaxHello, nil)
	if err != nil {
		return wire.Hello{}, s.readError("hear hello", err)
	}
	m, err := wire.Decode(payload, blob.Geometry{})
	if err != nil {
		return wire.Hello{}, s.violation(err)
	}
	hello, ok := m.(wire.Hello)
	if !ok {
		return wire.Hello{}, s.violation(fmt.Errorf("began with %T", m))
	}
	return hello, nil
}

// within runs work on the stream. When ctx ends before it is done, the stream's reads and writes
// fail, and ctx's cause is returned, whatever became of the work.
func within(ctx context.Context, stream network.Stream, work func() error) error {
	interrupted := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(interrupted)
		_ = stream.SetDeadline(past()) // fails only on a stream that is over already
	})
	err := work()
	if stop() {
		return err
	}
	<-interrupted
	if _, ok := errors.AsType[*ViolationError](err); ok {
		return err
	}
	return fmt.Errorf("say hello to each other: %w", context.Cause(ctx))
}

// past is a deadline that makes what waits give up at once.
func past() time.Time { return time.Unix(1, 0) }
