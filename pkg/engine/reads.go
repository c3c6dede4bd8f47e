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
	ctx, cancel := context.WithCancel(ctx)
	d.mu.Lock()
	d.reads[a.Read] = cancel
	d.mu.Unlock()
	e.spawn(func() {
		err := e.read(ctx, d, a)
		cancelled := ctx.Err() != nil
		cancel()
		d.mu.Lock()
		delete(d.reads, a.Read)
		d.mu.Unlock()
		fault := faultOf(err)
		if cancelled {
			fault = scheduler.FaultCancelled
		}
		e.post(scheduler.ReadEnded{Blob: a.Blob, Read: a.Read, Why: fault})
	})
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
	g := d.geometry
	off := g.Offset(a.First)
	body, err := e.openUpstream(ctx, d, off, g.Offset(a.First+a.Count)-off)
	if err != nil {
		return err
	}
	defer func() { _ = body.Close() }()
	counted := &countingReader{r: body, count: func(n int) { e.countUpstream(d, n) }}
	for i := a.First; i < a.First+a.Count; i++ {
		partial := d.live()
		if partial == nil {
			return context.Canceled
		}
		chunk := io.LimitReader(counted, int64(g.Length(i)))
		err := partial.WriteChunk(i, store.FromRegistry, chunk)
		if errors.Is(err, store.ErrHeld) {
			if _, err := io.Copy(io.Discard, chunk); err != nil {
				return d.noteUpstream(err)
			}
			continue
		}
		if err != nil {
			return d.noteUpstream(err)
		}
		d.more()
		e.post(scheduler.ReadProgressed{Blob: d.digest, Read: a.Read, Chunk: i})
	}
	return nil
}

// openUpstream opens the range with the newest credential that the registry accepts.
func (e *Engine) openUpstream(ctx context.Context, d *download, off, n blob.ByteCount) (io.ReadCloser, error) {
	sources := d.upstreams()
	if len(sources) == 0 {
		return nil, upstream.ErrNotFound
	}
	var last error
	for _, src := range sources {
		body, err := e.cfg.Upstream.ReadBlob(ctx, src, d.digest, d.geometry.Size(), off, n)
		if err == nil {
			return body, nil
		}
		last = d.noteUpstream(err)
		if !errors.Is(err, upstream.ErrUnauthorized) && !errors.Is(err, upstream.ErrNotFound) {
			break
		}
	}
	return nil, last
}

// noteUpstream keeps what the registry said last, for the client that will be told.
func (d *download) noteUpstream(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
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
	e.spawn(func() {
		same, err := e.audit(ctx, d, a.Chunk)
		e.post(scheduler.ChunkAudited{Blob: a.Blob, Chunk: a.Chunk, Same: same, Why: faultOf(err)})
	})
}

func (e *Engine) audit(ctx context.Context, d *download, i blob.ChunkIndex) (same bool, err error) {
	partial := d.live()
	if partial == nil {
		return false, context.Canceled
	}
	g := d.geometry
	body, err := e.openUpstream(ctx, d, g.Offset(i), g.Length(i))
	if err != nil {
		return false, err
	}
	defer func() { _ = body.Close() }()
	same, err = partial.Replace(i, &countingReader{r: body, count: func(n int) { e.countUpstream(d, n) }})
	if err != nil {
		return false, d.noteUpstream(err)
	}
	d.more()
	return same, nil
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

// A countingReader tells count how many bytes each Read delivered.
type countingReader struct {
	r     io.Reader
	count func(n int)
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if n > 0 {
		c.count(n)
	}
	return n, err
}
