package daemon

import (
	"context"
	"errors"
	"fmt"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/p2p/exchange"
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/engine"
)

// A handler is the engine as p2p/exchange wants it.
type handler struct {
	*engine.Engine
	// joined is closed once the engine knows its peers; no session opens before.
	joined chan struct{}
}

var errNotJoined = errors.New("this node only starts")

// Accept implements exchange.Handler.
func (h handler) Accept(ctx context.Context, p peer.ID, d blob.Digest, size blob.ByteCount) error {
	select {
	case <-h.joined:
		return h.Engine.Accept(ctx, p, d, size)
	default:
		return errNotJoined
	}
}

// Left implements exchange.Handler.
func (h handler) Left(p peer.ID, d blob.Digest, err error) { h.Engine.Left(p, d, ending(err)) }

// sessions is p2p/exchange as the engine wants it.
type sessions struct{ *exchange.Exchange }

// Connect implements engine.Sessions.
func (s sessions) Connect(ctx context.Context, p peer.ID, d blob.Digest, size blob.ByteCount) error {
	return ending(s.Exchange.Connect(ctx, p, d, size))
}

// ending says in the engine's words how a session ended.
func ending(err error) error {
	var violation *exchange.ViolationError
	switch {
	case err == nil || errors.As(err, &violation):
		return err
	case errors.Is(err, exchange.ErrPeerClosed):
		return fmt.Errorf("%w: %w", engine.ErrPeerLeft, err)
	case errors.Is(err, exchange.ErrRefused), errors.Is(err, exchange.ErrTooMany):
		return fmt.Errorf("%w: %w", engine.ErrRefused, err)
	case errors.Is(err, exchange.ErrClosed):
		return fmt.Errorf("%w: %w", engine.ErrStopping, err)
	default:
		return err
	}
}
