package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/store"
	"github.com/shoal-project/shoal/pkg/upstream"
	"github.com/shoal-project/shoal/scheduler"
)

// A Want names a blob that a client wants, and where it may be read.
type Want struct {
	Blob   blob.Digest
	Size   blob.ByteCount
	Image  blob.Digest     // the manifest that names it; zero when unknown
	Source upstream.Source // zero when no registry is known
}

// Start downloads the blob in the background, unless it is here already. It waits for no
// byte; a failure shows when a client opens the blob.
func (e *Engine) Start(w Want) {
	if _, err := e.ensure(w); err != nil && !errors.Is(err, ErrStopping) {
		e.cfg.Log.Warn("download not started", "blob", w.Blob.String(), "err", err)
	}
}

// openTries bounds how often Open goes after an entry that ended before it was joined.
const openTries = 3

// Open downloads the blob, or joins the download that is under way, and returns its
// body. It waits for no byte. The caller closes the Body.
func (e *Engine) Open(w Want) (*Body, error) {
	for try := 1; ; try++ {
		d, err := e.ensure(w)
		if err != nil {
			return nil, err
		}
		proven, err := d.join(try >= openTries)
		if errors.Is(err, errGone) {
			continue // ended between the two steps: try anew
		}
		if err != nil {
			return nil, err
		}
		if proven {
			e.traffic.fromStore.Add(int64(w.Size))
		}
		e.post(scheduler.ClientAsked{Blob: w.Blob})
		return &Body{engine: e, download: d}, nil
	}
}

// errGone means that the entry is no longer the blob's.
var errGone = errors.New("the blob's entry is gone")

// join counts one more body, and reports whether the blob is proven. An entry that is
// gone is errGone, or on the last try why it ended.
func (d *download) join(last bool) (proven bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.gone && (!last || d.err == nil):
		return false, errGone
	case d.err != nil:
		return false, d.err
	}
	d.bodies++
	d.lastUsed = time.Now()
	return d.done, nil
}

// A Body is one client's view of a blob. It is for one goroutine at a time.
type Body struct {
	engine   *Engine
	download *download
	given    bool // bytes were reported as available
	rewrites int  // of the download, when the first were
	head     bool // and some of them were of the head
	closing  sync.Once
}

// Size is the size of the whole blob.
func (b *Body) Size() blob.ByteCount { return b.download.geometry.Size() }

// Available waits until at least one byte at off may be given to a client, and returns
// how many may be from there on: bytes that this node read from the registry itself, or,
// with proven, every byte to the end of the blob. At the end of the blob it waits for
// the proof and returns 0. Once bytes that it reported turned out wrong, it returns an error
// that wraps ErrWrongBytes: what follows would make a whole that hashes to something else.
func (b *Body) Available(ctx context.Context, off blob.ByteCount) (n blob.ByteCount, proven bool, err error) {
	d := b.download
	for {
		d.mu.Lock()
		done, ended, changed, partial, rewrites := d.done, d.err, d.changed, d.partial, d.rewrites
		d.mu.Unlock()
		switch {
		case b.given && rewrites != b.rewrites:
			return 0, false, fmt.Errorf("blob %s: %w", d.digest.Short(), ErrWrongBytes)
		case done && b.head && !d.headHolds():
			return 0, false, fmt.Errorf("blob %s: %w", d.digest.Short(), ErrWrongBytes)
		case done:
			return max(0, d.geometry.Size()-off), true, nil
		case ended != nil:
			return 0, false, ended
		}
		if partial != nil {
			if n := partial.AvailableFrom(off); n > 0 {
				b.given, b.rewrites = true, rewrites
				return n, false, nil
			}
			if n := d.headFrom(off); n > 0 {
				b.given, b.rewrites, b.head = true, rewrites, true
				return n, false, nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, false, fmt.Errorf("wait for blob %s: %w", d.digest.Short(), context.Cause(ctx))
		}
	}
}

// ReadAt reads bytes that Available reported. When the download was given up meanwhile,
// the error says why.
func (b *Body) ReadAt(p []byte, off int64) (int, error) {
	n, err := b.readAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		if why := b.download.why(); why != nil {
			err = why
		}
	}
	return n, err
}

func (b *Body) readAt(p []byte, off int64) (int, error) {
	partial, proven := b.download.files()
	switch {
	case proven != nil:
		n, err := proven.ReadAt(p, off)
		if unreadable(err) {
			b.engine.lose(b.download, err)
		}
		return n, err
	case b.download.readHeadAt(p, off):
		return len(p), nil
	case partial != nil:
		return partial.ReadAt(p, off)
	default:
		return 0, errNoBytes
	}
}

// why is why the download ended without the blob, if it did.
func (d *download) why() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// unreadable reports whether a proven blob's file failed to give its bytes.
func unreadable(err error) bool {
	return err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) && !errors.Is(err, store.ErrClosed)
}

// File opens the bytes of a proven blob, for sendfile. The caller closes it.
func (b *Body) File() (*os.File, error) {
	file, err := b.download.file()
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", b.download.digest.Short(), err)
	}
	return file, nil
}

// Close says that the client no longer waits.
func (b *Body) Close() error {
	b.closing.Do(func() {
		d := b.download
		d.mu.Lock()
		d.bodies--
		d.lastUsed = time.Now()
		d.mu.Unlock()
		b.engine.post(scheduler.ClientLeft{Blob: d.digest})
	})
	return nil
}
