package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

// Causes with which a request is cancelled from inside the package.
var (
	errStalled = errors.New("no byte within the stall timeout")
	errClosed  = errors.New("the body is closed")
)

// drainBytes is how much of an unwanted body is read so that its connection can be kept.
const drainBytes = 4 << 10

// A body guards the body of one answer: a Read that brings nothing within the stall
// timeout ends the request, and errors are those of this package. One goroutine reads;
// Close may be called from another, and more than once.
type body struct {
	from     io.ReadCloser
	registry string
	stall    time.Duration
	timer    *time.Timer // runs only while a Read is under way
	cancel   context.CancelCauseFunc
	ended    func() error // why the request was cancelled, nil if it was not
	counted  func(n int)
	closed   sync.Once

	got, want blob.ByteCount // want is -1 when the answer did not say
}

// guard takes over resp.Body and cancel, which ends the request that resp answers.
func (c *Client) guard(ctx context.Context, cancel context.CancelCauseFunc, registry string, resp *http.Response) *body {
	b := &body{
		from:     resp.Body,
		registry: registry,
		stall:    c.cfg.StallTimeout,
		timer:    time.AfterFunc(c.cfg.StallTimeout, func() { cancel(errStalled) }),
		cancel:   cancel,
		ended:    func() error { return ended(ctx) },
		counted:  func(n int) { c.stats.read(registry, n) },
		want:     blob.ByteCount(resp.ContentLength),
	}
	b.timer.Stop()
	return b
}

// Read implements io.Reader. Errors are io.EOF, a *TruncatedError, or how the caller's
// context ended.
func (b *body) Read(p []byte) (int, error) {
	b.timer.Reset(b.stall)
	n, err := b.from.Read(p)
	b.timer.Stop()
	b.got += blob.ByteCount(n)
	b.counted(n)
	if err == nil || err == io.EOF {
		return n, err
	}
	return n, b.explain()
}

func (b *body) explain() error {
	why := b.ended()
	if why != nil && !errors.Is(why, errStalled) {
		return fmt.Errorf("reading from %s: %w", b.registry, why)
	}
	return &TruncatedError{Registry: b.registry, Got: b.got, Want: b.want, Stalled: why != nil}
}

// ended returns ctx's error with its cause, nil while ctx lasts.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if err == nil || errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// Close ends the request. It never fails.
func (b *body) Close() error {
	b.closed.Do(func() {
		b.timer.Stop()
		b.cancel(errClosed)
		_ = b.from.Close() // nothing was written, so nothing is lost
	})
	return nil
}

// discard closes the body after reading it to its end, if that is near.
func (b *body) discard() {
	if b.want >= 0 && b.want <= drainBytes {
		_, _ = io.Copy(io.Discard, b) // to reuse the connection, no more
	}
	_ = b.Close()
}
