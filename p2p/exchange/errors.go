package exchange

import (
	"errors"
	"fmt"
	"net"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/pkg/blob"
)

// Errors to branch on.
var (
	// ErrClosed is returned once the exchange is closed.
	ErrClosed = errors.New("the exchange is closed")
	// ErrNoSession is returned for a peer and blob without a session.
	ErrNoSession = errors.New("no session about this blob with this peer")
	// ErrRefused is returned by Connect when the peer does not want a session about the blob.
	ErrRefused = errors.New("the peer refused the session")
	// ErrTooMany is returned by Connect when this node or the peer has too many sessions.
	ErrTooMany = errors.New("too many sessions")
	// ErrTooManyAsks is returned by Send for an ask beyond MaxAsks that are not answered.
	ErrTooManyAsks = errors.New("too many chunks asked for")
	// ErrNotAsked is returned by SendChunk for a chunk that the peer does not wait for.
	ErrNotAsked = errors.New("the peer does not ask for this chunk")
	// ErrMessage is returned by Send for messages that only the exchange itself sends.
	ErrMessage = errors.New("not a message to be sent")
	// ErrCancelled is what a queued chunk ends with when the peer no longer wants it.
	ErrCancelled = errors.New("the peer cancelled the chunk")
	// ErrPeerClosed is what a session ends with that the peer ended in good order.
	ErrPeerClosed = errors.New("the peer ended the session")
	// ErrStalled is what a session ends with in which a frame no longer moves.
	ErrStalled = errors.New("the session stalled")
	// ErrOverflow is what a session ends with whose peer takes messages too slowly.
	ErrOverflow = errors.New("too many messages wait for the peer")
)

// A ViolationError reports a peer that broke the protocol.
type ViolationError struct {
	Peer peer.ID
	Blob blob.Digest // zero if the peer never said which
	Err  error
}

func (e *ViolationError) Error() string {
	return fmt.Sprintf("peer %s broke the exchange protocol: %v", e.Peer, e.Err)
}

func (e *ViolationError) Unwrap() error { return e.Err }

// Violation reports that the peer, and not the network, is at fault: always true.
func (e *ViolationError) Violation() bool { return true }

// The reasons that a reset tells the other side. They are hints: nothing depends on them but
// the error that a caller of Connect gets.
const (
	codeRefused   = network.StreamGated
	codeTooMany   = network.StreamResourceLimitExceeded
	codeViolation = network.StreamProtocolViolation
	codeClosed    = network.StreamShutdown
	codeFailed    = network.StreamNoError
)

// codeOf is what the other side is told about err.
func codeOf(err error) network.StreamErrorCode {
	var violation *ViolationError
	switch {
	case errors.As(err, &violation):
		return codeViolation
	case errors.Is(err, ErrRefused):
		return codeRefused
	case errors.Is(err, ErrTooMany):
		return codeTooMany
	case errors.Is(err, ErrClosed):
		return codeClosed
	default:
		return codeFailed
	}
}

// remote adds to an error of a stream what the other side said when it reset it.
func remote(err error) error {
	var reset *network.StreamError
	var timeout net.Error
	switch {
	case errors.As(err, &reset) && reset.Remote && reset.ErrorCode == codeRefused:
		return fmt.Errorf("%w: %w", ErrRefused, err)
	case errors.As(err, &reset) && reset.Remote && reset.ErrorCode == codeTooMany:
		return fmt.Errorf("%w: %w", ErrTooMany, err)
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("%w: %w", ErrStalled, err)
	default:
		return err
	}
}
