package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
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

// ErrSize is wrapped when two manifests give one digest two sizes.
var ErrSize = errors.New("blob has another size")

// Start downloads the blob in the background, unless it is here already. It does not
// block; a failure shows when a client opens the blob.
func (e *Engine) Start(w Want) {
	if e.find(w.Blob) != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopping {
		return // and Run may be waiting for its goroutines already
	}
	e.spawn(func() {
		if _, err := e.ensure(w); err != nil && !errors.Is(err, ErrStopping) {
			e.cfg.Log.Warn("download not started", "blob", w.Blob.String(), "err", err)
		}
	})
}

// Open downloads the blob, or joins the download that is under way, and returns its
// body. It waits for no byte. The caller closes the Body.
func (e *Engine) Open(w Want) (*Body, error) {
	for {
		d, err := e.ensure(w)
		if err != nil {
			return nil, err
		}
		d.mu.Lock()
		ended := d.err != nil
		if !ended {
			d.bodies++
			d.lastUsed = time.Now()
		}
		fromStore := d.done
		d.mu.Unlock()
		if ended {
			if e.find(w.Blob) == d {
				return nil, d.err
			}
			continue // ended between the two steps: try anew
		}
		if fromStore {
			e.traffic.fromStore.Add(int64(w.Size))
		}
		e.post(scheduler.ClientAsked{Blob: w.Blob})
		return &Body{engine: e, download: d}, nil
	}
}

// find returns the entry of the blob, or nil.
func (e *Engine) find(digest blob.Digest) *download {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.downloads[digest]
}

// ensure returns the entry of the blob and makes it first where there is none.
func (e *Engine) ensure(w Want) (*download, error) {
	if d := e.find(w.Blob); d != nil {
		return d, e.rejoin(d, w)
	}
	found, err, _ := e.opening.Do(string(w.Blob[:]), func() (any, error) { return e.open(w) })
	if err != nil {
		return nil, err
	}
	d, ok := found.(*download)
	if !ok {
		panic("engine: open returns downloads only")
	}
	return d, e.rejoin(d, w)
}

// rejoin adds what another client knows to a download.
func (e *Engine) rejoin(d *download, w Want) error {
	if w.Size != d.geometry.Size() {
		return fmt.Errorf("%w: %s is %d bytes, not %d", ErrSize, w.Blob.Short(), d.geometry.Size(), w.Size)
	}
	if d.addSource(w.Source) {
		e.post(scheduler.UpstreamKnown{Blob: w.Blob})
	}
	return nil
}

// open makes the entry of a blob: held when the store has it, a download otherwise.
func (e *Engine) open(w Want) (*download, error) {
	d, err := e.hold(w.Blob)
	if err == nil || !errors.Is(err, ErrUnknownBlob) {
		return d, err
	}
	g, err := blob.NewGeometry(w.Size)
	if err != nil {
		return nil, fmt.Errorf("download %s: %w", w.Blob.Short(), err)
	}
	e.awaitClosed(w.Blob)
	partial, err := e.cfg.Store.Partial(w.Blob, w.Size)
	if err != nil {
		return nil, fmt.Errorf("download %s: %w", w.Blob.Short(), err)
	}
	d = newDownload(w.Blob, g, w.Image, time.Now())
	d.partial = partial
	d.addSource(w.Source)
	if !e.insert(d) {
		_ = partial.Close()
		return nil, ErrStopping
	}
	r, v, q := partial.States()
	e.post(scheduler.DownloadStarted{
		Blob: w.Blob, Size: w.Size, Image: w.Image,
		FromRegistry: r, Verified: v, Quarantined: q,
		Upstream: w.Source.Registry != "", ClientsOnly: w.Size > e.cfg.BackgroundMax,
	})
	return d, nil
}

// hold returns the entry of a blob that is wanted or held here, or ErrUnknownBlob.
func (e *Engine) hold(digest blob.Digest) (*download, error) {
	if d := e.find(digest); d != nil {
		return d, nil
	}
	proven, err := e.cfg.Store.Get(digest)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrUnknownBlob, digest.Short())
	}
	g := proven.Geometry()
	d := newDownload(digest, g, blob.Digest{}, time.Now())
	d.proven, d.done = proven, true
	e.mu.Lock()
	if other := e.downloads[digest]; other != nil || e.stopping {
		e.mu.Unlock()
		_ = proven.Close()
		if other == nil {
			return nil, ErrStopping
		}
		return other, nil
	}
	e.downloads[digest] = d
	e.mu.Unlock()
	e.post(scheduler.BlobHeld{Blob: digest, Size: g.Size()})
	return d, nil
}

// insert puts a download into the map unless the engine is stopping.
func (e *Engine) insert(d *download) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopping {
		return false
	}
	e.downloads[d.digest] = d
	return true
}

// A Body is one client's view of a blob. It is for one goroutine at a time.
type Body struct {
	engine   *Engine
	download *download
	closing  sync.Once
}

// Size is the size of the whole blob.
func (b *Body) Size() blob.ByteCount { return b.download.geometry.Size() }

// Available waits until at least one byte at off may be given to a client, and returns
// how many may be from there on: bytes that this node read from the registry itself, or,
// with proven, every byte to the end of the blob. At the end of the blob it waits for
// the proof and returns 0.
func (b *Body) Available(ctx context.Context, off blob.ByteCount) (n blob.ByteCount, proven bool, err error) {
	d := b.download
	for {
		d.mu.Lock()
		done, ended, changed, partial := d.done, d.err, d.changed, d.partial
		d.mu.Unlock()
		switch {
		case done:
			return d.geometry.Size() - off, true, nil
		case ended != nil:
			return 0, false, ended
		}
		if n := partial.AvailableFrom(off); n > 0 {
			return n, false, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, false, fmt.Errorf("wait for blob %s: %w", d.digest.Short(), context.Cause(ctx))
		}
	}
}

// ReadAt reads bytes that Available reported.
func (b *Body) ReadAt(p []byte, off int64) (int, error) {
	d := b.download
	d.mu.Lock()
	proven, partial := d.proven, d.partial
	d.mu.Unlock()
	switch {
	case proven != nil:
		return proven.ReadAt(p, off)
	case partial != nil:
		return partial.ReadAt(p, off)
	default:
		return 0, errNoBytes
	}
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

// awaitClosed waits until the partial file of an abandoned download is closed.
func (e *Engine) awaitClosed(digest blob.Digest) {
	e.mu.Lock()
	closed := e.closing[digest]
	e.mu.Unlock()
	if closed != nil {
		<-closed
	}
}

// forgetIdle drops proven blobs from memory that nobody asked for in a while.
func (e *Engine) forgetIdle() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for digest, d := range e.downloads {
		d.mu.Lock()
		idle := d.done && d.bodies == 0 && d.sessions <= 0 && time.Since(d.lastUsed) > e.cfg.IdleAfter
		d.mu.Unlock()
		if !idle {
			continue
		}
		delete(e.downloads, digest)
		e.close(d)
		e.soon(scheduler.BlobLost{Blob: digest})
	}
}
