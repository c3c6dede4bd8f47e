package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/store"
	"github.com/shoal-project/shoal/scheduler"
)

// ErrUnknownBlob refuses a session about a blob that this node neither has nor wants.
var ErrUnknownBlob = errors.New("blob neither here nor wanted")

// ErrSize is wrapped when two manifests give one digest two sizes.
var ErrSize = errors.New("blob has another size")

// ensure returns the entry of the blob and makes it first where there is none. It does
// not wait for the disk beyond opening a proven blob.
func (e *Engine) ensure(w Want) (*download, error) {
	d := e.find(w.Blob)
	if d == nil {
		var err error
		d, err = e.hold(w.Blob)
		if errors.Is(err, ErrUnknownBlob) {
			d, err = e.begin(w)
		}
		if err != nil {
			return nil, err
		}
	}
	if w.Size != d.geometry.Size() {
		return nil, fmt.Errorf("%w: %s is %d bytes, not %d", ErrSize, w.Blob.Short(), d.geometry.Size(), w.Size)
	}
	if d.addSource(w.Source) {
		e.about(d, scheduler.UpstreamKnown{Blob: w.Blob})
	}
	return d, nil
}

// hold returns the entry of a blob that is wanted or held here, or ErrUnknownBlob.
func (e *Engine) hold(digest blob.Digest) (*download, error) {
	if d := e.find(digest); d != nil {
		return d, nil
	}
	proven, err := e.openProven(digest)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnknownBlob, err)
	}
	d := newDownload(digest, proven.Geometry(), blob.Digest{}, time.Now())
	d.proven, d.done = proven, true
	held, err := e.insert(d)
	if held != d {
		_ = proven.Close() // it was only read
		return held, err
	}
	e.inLoop(func(context.Context) { e.seeds(d) })
	return d, nil
}

// openProven opens a proven blob where it lies.
func (e *Engine) openProven(digest blob.Digest) (Proven, error) {
	stored, err := e.cfg.Store.Get(digest)
	if err == nil {
		return stored, nil
	}
	found, elsewhereErr := e.cfg.Elsewhere(digest)
	if elsewhereErr != nil {
		return nil, errors.Join(err, elsewhereErr)
	}
	return found, nil
}

// insert puts an entry into the map, or returns the one that is there already.
func (e *Engine) insert(d *download) (*download, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopping {
		return nil, ErrStopping
	}
	if other := e.downloads[d.digest]; other != nil {
		return other, nil
	}
	e.downloads[d.digest] = d
	return d, nil
}

// seeds tells the Machine of a blob that was proven before. It runs in the loop.
func (e *Engine) seeds(d *download) {
	if e.find(d.digest) != d {
		return
	}
	d.seeding = true
	e.soon(scheduler.BlobHeld{Blob: d.digest, Size: d.geometry.Size()})
}

// begin makes the entry of a download. Its partial file is opened in the background: one
// from an earlier life is read through first, which takes a while.
func (e *Engine) begin(w Want) (*download, error) {
	g, err := blob.NewGeometry(w.Size)
	if err != nil {
		return nil, fmt.Errorf("download %s: %w", w.Blob.Short(), err)
	}
	d := newDownload(w.Blob, g, w.Image, time.Now())
	d.addSource(w.Source)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.stopping {
		return nil, ErrStopping
	}
	if other := e.downloads[w.Blob]; other != nil {
		return other, nil
	}
	e.downloads[w.Blob] = d
	e.spawn(func() { e.open(d) })
	return d, nil
}

// open gives a new entry its partial file, or the proven one that appeared meanwhile.
func (e *Engine) open(d *download) {
	e.awaitClosed(d.digest)
	partial, err := e.cfg.Store.Partial(d.digest, d.geometry.Size())
	if err == nil {
		if d.opened(partial) {
			e.inLoop(func(context.Context) { e.started(d, partial) })
		} else {
			_ = partial.Close() // stopping: what it holds stays on disk
		}
		return
	}
	if errors.Is(err, store.ErrProven) {
		var proven Proven
		if proven, err = e.openProven(d.digest); err == nil && proven.Geometry() != d.geometry {
			err = errors.Join(fmt.Errorf("%w: it is %d bytes", ErrSize, proven.Geometry().Size()), proven.Close())
		}
		if err == nil {
			if d.keep(proven) {
				e.inLoop(func(context.Context) { e.seeds(d) })
			}
			return
		}
	}
	e.cfg.Log.Warn("download not started", "blob", d.digest.String(), "err", err)
	why := scheduler.FaultCancelled
	if errors.Is(err, store.ErrDisk) {
		why = scheduler.FaultDisk
		e.cfg.OnDisk(err)
	}
	// Nobody else knows the entry: it was not told to the Machine, and sessions are refused.
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.downloads[d.digest] == d {
		delete(e.downloads, d.digest)
	}
	d.leave(&AbandonedError{Blob: d.digest, Why: why, Local: err})
}

// started tells the Machine of a download. It runs in the loop.
func (e *Engine) started(d *download, partial *store.Partial) {
	if e.find(d.digest) != d {
		return
	}
	r, v, q := partial.States()
	sources := d.upstreams()
	e.soon(scheduler.DownloadStarted{
		Blob: d.digest, Size: d.geometry.Size(), Image: d.image,
		FromRegistry: r, Verified: v, Quarantined: q,
		Upstream: len(sources) > 0, ClientsOnly: d.geometry.Size() > e.cfg.BackgroundMax,
	})
	if len(sources) > 0 && !e.cfg.Upstream.RangesSupported(sources[0].Registry) {
		e.soon(scheduler.UpstreamWhole{Blob: d.digest}) // another blob's read has shown it
	}
}

// abandon ends a download without the blob.
func (e *Engine) abandon(a scheduler.Abandon) {
	d := e.find(a.Blob)
	if d == nil {
		return
	}
	err := d.abandoned(a.Why)
	e.cfg.Log.Warn("download given up", "blob", a.Blob.String(), "why", a.Why.String(), "upstream", err.Upstream, "here", err.Local)
	e.retire(d, func() bool { return d.leave(err) })
}

// lose ends the serving of a proven blob whose file cannot be read, or holds other bytes.
func (e *Engine) lose(d *download, err error) {
	e.inLoop(func(context.Context) {
		if e.find(d.digest) != d || !d.seeding {
			return
		}
		e.cfg.Log.Error("proven blob is damaged", "blob", d.digest.String(), "err", err)
		if _, proven := d.files(); stored(proven) {
			e.cfg.OnDisk(err)
		}
		e.retire(d, func() bool {
			return d.leave(&AbandonedError{Blob: d.digest, Why: scheduler.FaultDisk, Local: err})
		})
		e.soon(scheduler.BlobLost{Blob: d.digest})
	})
}

// stored reports whether a proven blob lies in the store: only there does its damage say
// something of the store's disk.
func stored(p Proven) bool {
	_, ok := p.(*store.Proven)
	return ok
}

// retire takes an entry out of the map, if leave agrees, and has its files closed;
// whoever opens the blob anew waits for that. It runs in the loop.
func (e *Engine) retire(d *download, leave func() bool) bool {
	closed := make(chan struct{})
	e.mu.Lock()
	if !leave() {
		e.mu.Unlock()
		return false
	}
	before := e.closing[d.digest]
	e.closing[d.digest] = closed
	delete(e.downloads, d.digest)
	e.mu.Unlock()
	e.spawn(func() {
		defer close(closed)
		if before != nil {
			<-before
		}
		e.close(d)
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.closing[d.digest] == closed {
			delete(e.closing, d.digest)
		}
	})
	return true
}

// awaitClosed waits until the files of an entry that was removed are closed.
func (e *Engine) awaitClosed(digest blob.Digest) {
	e.mu.Lock()
	closed := e.closing[digest]
	e.mu.Unlock()
	if closed != nil {
		<-closed
	}
}

// close closes the files of an entry that nobody can find any more.
func (e *Engine) close(d *download) {
	d.mu.Lock()
	partial, proven, worthless := d.partial, d.proven, d.worthless
	d.partial, d.proven = nil, nil
	d.mu.Unlock()
	var errs []error
	if partial != nil {
		errs = append(errs, partial.Close())
	}
	if proven != nil {
		errs = append(errs, proven.Close())
	}
	if worthless {
		if err := e.cfg.Store.Delete(d.digest); !errors.Is(err, store.ErrNotFound) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		e.cfg.Log.Warn("blob not closed", "blob", d.digest.String(), "err", err)
	}
}

// forgetIdle drops proven blobs from memory that nobody asked for in a while, and, while
// there are too many, those that were left alone for longest. It runs in the loop.
func (e *Engine) forgetIdle() {
	type idle struct {
		d     *download
		since time.Time
	}
	entries := e.entries()
	var all []idle
	for _, d := range entries {
		if since, ok := d.idleSince(); ok && d.seeding {
			all = append(all, idle{d, since})
		}
	}
	slices.SortFunc(all, func(a, b idle) int { return a.since.Compare(b.since) })
	for n, i := range all {
		crowded := len(entries)-n > e.cfg.MaxHeld*7/8
		if (crowded || time.Since(i.since) > e.cfg.IdleAfter) && e.retire(i.d, i.d.leaveIdle) {
			e.soon(scheduler.BlobLost{Blob: i.d.digest})
		}
	}
}

// LetGo closes the file of a proven blob that nobody uses, so that whoever comes next opens it
// where it lies by then. It is for a blob that was removed from where it was.
func (e *Engine) LetGo(digest blob.Digest) {
	e.inLoop(func(context.Context) {
		if d := e.find(digest); d != nil && d.seeding && e.retire(d, d.leaveIdle) {
			e.soon(scheduler.BlobLost{Blob: digest})
		}
	})
}

// crowded reports whether peers may not have more blobs opened now.
func (e *Engine) crowded() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.downloads) >= e.cfg.MaxHeld
}
