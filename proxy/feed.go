package proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/upstream"
)

const (
	// reserve is how much of the available but unproven bytes is held back for the drip, and
	// until the blob is proven: a blob that turns out wrong is then never complete at the client.
	reserve = 64 * blob.KiB
	// drop is how much goes out each time nothing else does: the reserve lasts for half an hour.
	drop = 1 * blob.KiB
)

// A feed sends one span of a Body to one client, at the pace at which its bytes may be
// given away. It is used by one goroutine and waits only in Body.Available.
type feed struct {
	proxy *Proxy
	body  Body
	want  Want
	span  span
	out   *sender

	pos   blob.ByteCount // the next byte to send
	avail blob.ByteCount // the end of the bytes that may be given away, as far as known
	// Points in time: headers are due, the next drop is due, upstream is read directly. A zero
	// time is never.
	headersAt, dropAt, directAt time.Time
	proven                      bool
	// failedRead says that available bytes could not be read before, at unread.
	failedRead bool
	unread     blob.ByteCount
}

// newFeed prepares to send s of body through out.
func (p *Proxy) newFeed(body Body, want Want, s span, out *sender) *feed {
	now := time.Now()
	f := &feed{
		proxy: p, body: body, want: want, span: s, out: out, pos: s.Off, avail: s.Off,
		headersAt: now.Add(p.config.HeaderWait), dropAt: now.Add(p.config.DripEvery),
	}
	f.moved(now)
	return f
}

// lazy reports whether the span is what a lazy loader asks for: a part with an end.
func (f *feed) lazy() bool {
	return !f.span.Open && f.span.Len <= f.proxy.config.LazyMax && f.span.Len < f.want.Size
}

// moved notes that bytes of the span became available: patience starts anew.
func (f *feed) moved(now time.Time) {
	switch {
	case f.lazy():
		f.directAt = now.Add(f.proxy.config.LazyWait)
	case f.span.Off > 0:
		f.directAt = now.Add(f.proxy.config.StallWait)
	}
}

// may is the end of the bytes that go out now.
func (f *feed) may() blob.ByteCount {
	if f.proven {
		return f.span.End()
	}
	end := f.avail
	if !f.lazy() {
		end -= reserve
	}
	return min(end, f.span.End())
}

// run sends the span. An error before f.out.started can still be answered.
func (f *feed) run(ctx context.Context) error {
	if f.span.Len == 0 {
		return f.runEmpty(ctx)
	}
	for f.pos < f.span.End() {
		switch end := f.may(); {
		case f.proven:
			return f.sendProven(f.pos, f.span.End())
		case f.pos < end:
			if err := f.sendAvailable(end); err != nil {
				return err
			}
			f.dropAt = time.Now().Add(f.proxy.config.DripEvery)
		default:
			direct, err := f.wait(ctx)
			if err != nil {
				return err
			}
			if direct {
				return f.proxy.readDirect(ctx, f.want, f.pos, f.span.End(), f.out)
			}
		}
	}
	return nil
}

// sendAvailable sends the available bytes [f.pos, end). When they cannot be read after
// all, it is left to wait to find out what became of the download; but where the body
// announced bytes that it does not give, once is enough.
func (f *feed) sendAvailable(end blob.ByteCount) error {
	before := f.out.sent
	err := f.out.copyAt(f.body, f.pos, end)
	f.pos += f.out.sent - before
	if err == nil {
		return nil
	}
	if errors.Is(err, errLeft) || f.unread == f.pos && f.failedRead {
		return err
	}
	f.failedRead, f.unread = true, f.pos
	f.avail = f.pos
	return nil
}

// sendProven sends the bytes [off, end) of the proven blob.
func (f *feed) sendProven(off, end blob.ByteCount) error {
	file, err := f.body.File()
	if err != nil {
		return f.out.copyAt(f.body, off, end)
	}
	defer file.Close() //nolint:errcheck // opened for reading
	return f.out.copyFile(file, off, end)
}

// runEmpty answers with the empty blob, once it is known to be that.
func (f *feed) runEmpty(ctx context.Context) error {
	for !f.proven {
		if _, err := f.wait(ctx); err != nil {
			return err
		}
	}
	f.out.start()
	return nil
}

// wait blocks until there is more to give away or something is due, and does what is due.
// It reports whether the rest is to be read from upstream directly.
func (f *feed) wait(ctx context.Context) (direct bool, err error) {
	if f.out.started {
		if err := f.out.flush(); err != nil {
			return false, err
		}
	}
	limited, cancel := context.WithDeadline(ctx, f.nextDue())
	defer cancel()
	n, proven, err := f.body.Available(limited, f.avail)
	now := time.Now()
	switch {
	case ctx.Err() != nil:
		return false, fmt.Errorf("%w: %w", errLeft, context.Cause(ctx))
	case err == nil && (n > 0 || proven):
		f.avail += n
		f.proven = proven
		f.moved(now)
		if !f.out.started {
			f.out.start()
		}
		return false, nil
	case err == nil:
		return false, errors.New("body announced no bytes")
	case limited.Err() == nil || !errors.Is(err, context.DeadlineExceeded):
		return f.failed(err)
	}
	return f.due(now)
}

// failed decides what the end of the download means. When upstream refused, that is the
// answer. Otherwise the download was given up for a reason of this node's or the
// swarm's (a full disk, peers that lie), and the client still gets what the registry
// alone could have served (design, P2). After wrong bytes the body is cut: with the end
// that was held back it would be complete and wrong.
func (f *feed) failed(err error) (direct bool, _ error) {
	if refusedUpstream(err) || errors.Is(err, ErrWrongBytes) {
		return false, err
	}
	f.proxy.warnDirect(f.want, err)
	return true, nil
}

// refusedUpstream reports whether a download failed because of upstream itself: reading from
// there directly would fail as well.
func refusedUpstream(err error) bool {
	return errors.Is(err, upstream.ErrNotFound) || errors.Is(err, upstream.ErrUnauthorized) ||
		errors.Is(err, upstream.ErrUnreachable) || errors.Is(err, upstream.ErrThrottled)
}

// warnDirect says that a blob is streamed past the store.
func (p *Proxy) warnDirect(want Want, err error) {
	p.log.Warn("blob is read from upstream for one client", logBlob(want), slog.Any("error", err))
}

// nextDue is the earliest point in time at which something is to be done.
func (f *feed) nextDue() time.Time {
	due := f.dropAt
	if !f.out.started && f.headersAt.Before(due) {
		due = f.headersAt
	}
	if !f.directAt.IsZero() && f.directAt.Before(due) {
		due = f.directAt
	}
	return due
}

// due does what is due at now.
func (f *feed) due(now time.Time) (direct bool, err error) {
	if !f.directAt.IsZero() && !now.Before(f.directAt) {
		return true, nil
	}
	if !f.out.started && !now.Before(f.headersAt) {
		f.out.start()
	}
	if !now.Before(f.dropAt) {
		f.dropAt = now.Add(f.proxy.config.DripEvery)
		end := min(f.pos+drop, f.avail, f.span.End())
		if f.pos < end {
			if err := f.out.copyAt(f.body, f.pos, end); err != nil {
				return false, err
			}
			f.pos = end
		}
	}
	return false, nil
}

// readDirect sends the bytes [off, end) of the blob as it reads them from upstream, for
// this client alone. When that is the whole blob it is hashed on the way, and the end is
// held back until the digest is known to be right.
func (p *Proxy) readDirect(ctx context.Context, want Want, off, end blob.ByteCount, out *sender) error {
	body, err := p.deps.Upstream.ReadBlob(ctx, want.Source, want.Blob, want.Size, off, end-off)
	if err != nil {
		return fmt.Errorf("read blob from upstream: %w", err)
	}
	defer body.Close() //nolint:errcheck // every byte was read and counted, or the error is reported
	before := out.sent
	defer func() { p.counters.direct.Add(uint64(out.sent - before)) }()
	if off > 0 || end < want.Size {
		return out.copyReader(body, end-off)
	}
	hash := sha256.New()
	hold := min(reserve, end)
	if err := out.copyReader(io.TeeReader(body, hash), end-hold); err != nil {
		return err
	}
	tail := make([]byte, hold)
	if _, err := io.ReadFull(body, tail); err != nil {
		return fmt.Errorf("read body: %w", err)
	}
	hash.Write(tail)
	if blob.Digest(hash.Sum(nil)) != want.Blob {
		return fmt.Errorf("%w: blob %s", ErrWrongBytes, want.Blob.Short())
	}
	return out.copyReader(bytes.NewReader(tail), hold)
}
