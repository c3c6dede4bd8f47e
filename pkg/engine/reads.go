package engine

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/store"
	"github.com/shoal-project/shoal/pkg/upstream"
	"github.com/shoal-project/shoal/scheduler"
)

// readUpstream starts one read of adjacent chunks from the registry.
func (e *Engine) readUpstream(ctx context.Context, a scheduler.ReadUpstream) {
	d := e.find(a.Blob)
	if d == nil {
		e.soon(scheduler.ReadEnded{Blob: a.Blob, Read: a.Read, Why: scheduler.FaultCancelled})
		return
	}
	ctx, ended := d.work(ctx)
	ctx, cancel := context.WithCancel(ctx)
	d.mu.Lock()
	d.reads[a.Read] = cancel
	d.mu.Unlock()
	e.spawn(func() {
		fault := faultOf(e.read(ctx, d, a))
		switch {
		case d.disk() != nil:
			fault = scheduler.FaultDisk
		case ctx.Err() != nil:
			fault = scheduler.FaultCancelled
		}
		cancel()
		ended()
		d.mu.Lock()
		delete(d.reads, a.Read)
		d.mu.Unlock()
		e.about(d, scheduler.ReadEnded{Blob: a.Blob, Read: a.Read, Why: fault})
	})
}

// work returns a context that ends with the download, and what to call when the work is over.
func (d *download) work(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		cancel()
	}
	d.works[&cancel] = struct{}{}
	return ctx, func() {
		cancel()
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.works, &cancel)
	}
}

func (e *Engine) cancelRead(a scheduler.CancelRead) {
	d := e.find(a.Blob)
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if cancel := d.reads[a.Read]; cancel != nil {
		cancel()
	}
}

// read reads the chunks into the partial file as R. Chunks that came from elsewhere in
// the meantime are skipped in the body.
func (e *Engine) read(ctx context.Context, d *download, a scheduler.ReadUpstream) error {
	if err := d.disk(); err != nil {
		return err
	}
	g := d.geometry
	off := g.Offset(a.First)
	body, err := e.openUpstream(ctx, d, off, g.Offset(a.First+a.Count)-off)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	for i := a.First; i < a.First+a.Count; i++ {
		partial := d.live()
		if partial == nil {
			return context.Canceled
		}
		chunk := io.LimitReader(body, int64(g.Length(i)))
		err := partial.WriteChunk(i, store.FromRegistry, chunk)
		if errors.Is(err, store.ErrHeld) {
			e.giveWay(d.digest, i)
			if _, err := io.Copy(io.Discard, chunk); err != nil {
				return d.heard(err)
			}
			continue
		}
		if err != nil {
			return e.notWritten(d, body, err)
		}
		_ = d.heard(nil)
		d.more()
		e.about(d, scheduler.ReadProgressed{Blob: d.digest, Read: a.Read, Chunk: i})
	}
	return nil
}

// notWritten says whose fault it is that bytes from upstream did not reach the file.
func (e *Engine) notWritten(d *download, body *upstreamBody, err error) error {
	switch {
	case body.err != nil:
		return d.heard(body.err)
	case errors.Is(err, store.ErrDisk):
		e.diskFailed(d, err)
		return err
	case errors.Is(err, store.ErrLength):
		return d.heard(err)
	default:
		return context.Canceled // the blob was proven or given up meanwhile
	}
}

// openUpstream opens the range with the newest credential that the registry accepts.
func (e *Engine) openUpstream(ctx context.Context, d *download, off, n blob.ByteCount) (*upstreamBody, error) {
	sources := d.upstreams()
	if len(sources) == 0 {
		return nil, upstream.ErrNotFound
	}
	var last error
	for _, src := range sources {
		body, err := e.cfg.Upstream.ReadBlob(ctx, src, d.digest, d.geometry.Size(), off, n)
		if err == nil {
			if n < d.geometry.Size() && !e.cfg.Upstream.RangesSupported(src.Registry) {
				e.about(d, scheduler.UpstreamWhole{Blob: d.digest})
			}
			return &upstreamBody{ReadCloser: body, count: func(n int) { e.countUpstream(d, n) }}, nil
		}
		last = d.heard(err)
		if !errors.Is(err, upstream.ErrUnauthorized) && !errors.Is(err, upstream.ErrNotFound) {
			break
		}
	}
	return nil, last
}

// heard keeps what the registry said last, for the client that will be told: nil for
// bytes, which are the opposite of a no. It returns err.
func (d *download) heard(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.upErr = err
	return err
}

// auditChunk reads one chunk from the registry anew and has the store compare it.
func (e *Engine) auditChunk(ctx context.Context, a scheduler.AuditChunk) {
	d := e.find(a.Blob)
	if d == nil {
		e.soon(scheduler.ChunkAudited{Blob: a.Blob, Chunk: a.Chunk, Why: scheduler.FaultCancelled})
		return
	}
	e.cfg.OnAudit()
	ctx, ended := d.work(ctx)
	e.spawn(func() {
		same, err := e.audit(ctx, d, a.Chunk)
		ended()
		e.inLoop(func(context.Context) { e.audited(d, a.Chunk, same, err) })
	})
}

// audited reports an audit. It runs in the loop.
func (e *Engine) audited(d *download, i blob.ChunkIndex, same bool, err error) {
	if e.find(d.digest) != d {
		return
	}
	late := d.dropLater[i]
	delete(d.dropLater, i)
	switch {
	case err != nil && late:
		e.drop(d, i)
	case err == nil && !same:
		d.dropped[i]++ // other bytes: what was found out about the old ones does not count
	}
	e.soon(scheduler.ChunkAudited{Blob: d.digest, Chunk: i, Same: same, Why: faultOf(err)})
}

func (e *Engine) audit(ctx context.Context, d *download, i blob.ChunkIndex) (same bool, err error) {
	partial := d.live()
	if partial == nil {
		return false, context.Canceled
	}
	if err := d.disk(); err != nil {
		return false, err
	}
	g := d.geometry
	body, err := e.openUpstream(ctx, d, g.Offset(i), g.Length(i))
	if err != nil {
		return false, err
	}
	defer func() { _ = body.Close() }()
	given := servable(partial, i)
	same, err = partial.Replace(i, body)
	if err != nil {
		return false, e.notWritten(d, body, err)
	}
	_ = d.heard(nil)
	if given && !same {
		d.rewrote()
	}
	d.more()
	return same, nil
}

// diskFailed remembers that the disk refused: the download's next read says so to the
// Machine, which gives the download up, and its clients are served past the store.
func (e *Engine) diskFailed(d *download, err error) {
	d.mu.Lock()
	first := d.diskErr == nil
	if first {
		d.diskErr = err
	}
	reads := len(d.reads)
	for _, cancel := range d.reads {
		cancel()
	}
	d.mu.Unlock()
	e.cfg.OnDisk(err)
	if first {
		e.cfg.Log.Error("disk failed", "blob", d.digest.String(), "reads", reads, "err", err)
	}
}

// disk is the disk's first failure with this download, if there was one.
func (d *download) disk() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.diskErr
}

func (e *Engine) countUpstream(d *download, n int) {
	now := time.Now()
	d.fromUpstream.Add(int64(n))
	d.upRate.Add(now, blob.ByteCount(n))
	e.traffic.fromUpstream.Add(int64(n))
	e.traffic.upstreamRate.Add(now, blob.ByteCount(n))
}

// faultOf says to the Machine what an error means.
func faultOf(err error) scheduler.Fault {
	switch {
	case err == nil:
		return scheduler.FaultNone
	case errors.Is(err, store.ErrDisk):
		return scheduler.FaultDisk
	case errors.Is(err, context.Canceled):
		return scheduler.FaultCancelled
	case errors.Is(err, upstream.ErrUnauthorized):
		return scheduler.FaultUnauthorized
	case errors.Is(err, upstream.ErrNotFound):
		return scheduler.FaultGone
	default:
		return scheduler.FaultTransient
	}
}

// An upstreamBody counts what it delivers and keeps the error it ended with, so that a
// reader's error is told from a writer's.
type upstreamBody struct {
	io.ReadCloser
	count func(n int)
	err   error // but io.EOF
}

// Read implements io.Reader.
func (b *upstreamBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.count(n)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		b.err = err
	}
	return n, err
}
