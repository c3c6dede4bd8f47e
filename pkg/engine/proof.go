package engine

import (
	"context"
	"errors"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
	"github.com/shoal-project/shoal/pkg/store"
	"github.com/shoal-project/shoal/scheduler"
)

// onCore runs work in a goroutine, at most one for each core at a time.
func (e *Engine) onCore(ctx context.Context, work func()) {
	e.spawn(func() {
		select {
		case e.hashing <- struct{}{}:
		case <-ctx.Done():
			return
		}
		defer func() { <-e.hashing }()
		work()
	})
}

// checkLink has the store check one chunk under the chain that a peer supplied.
func (e *Engine) checkLink(ctx context.Context, a scheduler.CheckLink) {
	d := e.find(a.Blob)
	failed := scheduler.LinkChecked{Blob: a.Blob, Chunk: a.Chunk, Supplier: a.Supplier}
	if d == nil {
		e.soon(failed)
		return
	}
	partial, c := d.live(), d.chainFrom(a.Supplier)
	if partial == nil || c.IsZero() {
		e.soon(failed)
		return
	}
	e.onCore(ctx, func() {
		verified, err := partial.CheckLink(a.Chunk, c)
		var broken *store.LinkError
		if err != nil && !errors.As(err, &broken) {
			e.loseChunk(d, a.Chunk, err)
		}
		e.post(scheduler.LinkChecked{
			Blob: a.Blob, Chunk: a.Chunk, Supplier: a.Supplier, Holds: err == nil, Verified: verified,
		})
	})
}

// hashPrefix extends the blob's own chain from the IV over stored chunks.
func (e *Engine) hashPrefix(ctx context.Context, a scheduler.HashPrefix) {
	d := e.find(a.Blob)
	if d == nil {
		return
	}
	partial := d.live()
	if partial == nil {
		return
	}
	e.onCore(ctx, func() {
		next, verified, mismatch, err := partial.HashPrefix(a.First, a.Through)
		if err != nil {
			e.loseChunk(d, next, err)
		}
		e.post(scheduler.PrefixHashed{Blob: a.Blob, Next: next, Verified: verified, Mismatch: mismatch})
	})
}

// loseChunk reports a chunk whose bytes could not be read back.
func (e *Engine) loseChunk(d *download, i blob.ChunkIndex, err error) {
	if d.live() == nil || !d.geometry.Valid(i) {
		return // ended meanwhile
	}
	e.cfg.Log.Warn("stored chunk unreadable", "blob", d.digest.String(), "chunk", int(i), "err", err)
	e.drop(d, i)
	e.post(scheduler.ChunkLost{Blob: d.digest, Chunk: i})
}

func (e *Engine) dropChunk(a scheduler.DropChunk) {
	if d := e.find(a.Blob); d != nil {
		e.drop(d, a.Chunk)
	}
}

func (e *Engine) drop(d *download, i blob.ChunkIndex) {
	partial := d.live()
	if partial == nil {
		return
	}
	if err := partial.Drop(i); err != nil {
		e.cfg.Log.Warn("chunk not dropped", "blob", d.digest.String(), "chunk", int(i), "err", err)
	}
}

func (e *Engine) dropChain(a scheduler.DropChain) {
	d := e.find(a.Blob)
	if d == nil {
		return
	}
	d.mu.Lock()
	delete(d.chains, a.Supplier)
	d.mu.Unlock()
	if partial := d.live(); partial != nil {
		partial.DropLinks()
	}
}

// chainFrom is the chain that the peer supplied, or none.
func (d *download) chainFrom(p scheduler.PeerID) chain.Chain {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.chains[p]
}

// release has the store prove the blob, serves the clients, and puts it in its place.
func (e *Engine) release(ctx context.Context, a scheduler.Release) {
	d := e.find(a.Blob)
	if d == nil {
		return
	}
	partial := d.live()
	if partial == nil {
		return
	}
	e.onCore(ctx, func() {
		if err := partial.Prove(); err != nil {
			e.cfg.Log.WarnContext(ctx, "blob not proven", "blob", a.Blob.String(), "err", err)
			e.post(scheduler.PrefixHashed{Blob: a.Blob, Mismatch: true})
			return
		}
		d.mu.Lock()
		d.done = true
		d.notify()
		d.mu.Unlock()
		e.traffic.proven.Add(1)
		e.post(scheduler.BlobProven(a))
		e.cfg.Log.InfoContext(ctx, "blob proven", "blob", a.Blob.String(), "bytes", int64(d.geometry.Size()),
			"from_registry", d.fromUpstream.Load(), "from_peers", d.fromPeers.Load(),
			"seconds", time.Since(d.started).Seconds())
		e.commit(d, partial)
	})
}

// commit puts a proven blob into its place. A disk that refuses costs only the copy:
// clients and peers go on with the open file until it is forgotten.
func (e *Engine) commit(d *download, partial *store.Partial) {
	if err := partial.Commit(); err != nil {
		e.cfg.Log.Error("proven blob not kept", "blob", d.digest.String(), "err", err)
		return
	}
	proven, err := e.cfg.Store.Get(d.digest)
	if err != nil {
		e.cfg.Log.Error("proven blob not found again", "blob", d.digest.String(), "err", err)
		return
	}
	d.mu.Lock()
	d.proven = proven
	d.mu.Unlock() // the partial file stays open: a client may be reading from it
}

// abandon ends a download without the blob.
func (e *Engine) abandon(a scheduler.Abandon) {
	closed := make(chan struct{})
	e.mu.Lock()
	d := e.downloads[a.Blob]
	if d == nil {
		e.mu.Unlock()
		return
	}
	delete(e.downloads, a.Blob)
	e.closing[a.Blob] = closed
	e.mu.Unlock()
	d.mu.Lock()
	upErr := d.upErr
	d.mu.Unlock()
	e.cfg.Log.Warn("download given up", "blob", a.Blob.String(), "why", a.Why.String(), "upstream", upErr)
	d.fail(&AbandonedError{Blob: a.Blob, Why: a.Why, Upstream: upErr})
	e.spawn(func() {
		e.close(d)
		e.mu.Lock()
		delete(e.closing, a.Blob)
		e.mu.Unlock()
		close(closed)
	})
}

// close closes the files of an entry that nobody can find any more.
func (e *Engine) close(d *download) {
	d.mu.Lock()
	partial, proven := d.partial, d.proven
	d.partial, d.proven = nil, nil
	d.mu.Unlock()
	var errs []error
	if partial != nil {
		errs = append(errs, partial.Close())
	}
	if proven != nil {
		errs = append(errs, proven.Close())
	}
	if err := errors.Join(errs...); err != nil {
		e.cfg.Log.Warn("blob not closed", "blob", d.digest.String(), "err", err)
	}
}
