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

// onCore runs work in a goroutine, at most one for each core at a time. Only the end of
// the engine keeps it from running.
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
	var partial *store.Partial
	var supplied chain.Chain
	d := e.find(a.Blob)
	if d != nil {
		partial, supplied = d.live(), d.useClaim(a.Supplier)
	}
	if partial == nil || supplied.IsZero() {
		// The download ended, or the supplier is in quarantine.
		e.soon(scheduler.LinkChecked{Blob: a.Blob, Chunk: a.Chunk, Supplier: a.Supplier})
		return
	}
	bytes := d.dropped[a.Chunk]
	e.onCore(ctx, func() {
		verified, err := partial.CheckLink(a.Chunk, supplied)
		e.inLoop(func(ctx context.Context) { e.linkChecked(ctx, d, a, bytes, verified, err) })
	})
}

// linkChecked reports a verdict, if it is one about the bytes that the Machine knows: a
// verdict about others would blame somebody who did nothing. It runs in the loop.
func (e *Engine) linkChecked(
	ctx context.Context, d *download, a scheduler.CheckLink, bytes uint64, verified []blob.ChunkIndex, err error,
) {
	partial := d.live()
	if e.find(a.Blob) != d || partial == nil {
		return
	}
	var broken *store.LinkError
	conclusive := err == nil || errors.As(err, &broken)
	if errors.Is(err, store.ErrDisk) {
		e.loseChunk(d, a.Chunk, err)
	}
	if (!conclusive || d.dropped[a.Chunk] != bytes) && holds(partial, a.Chunk) {
		e.checkLink(ctx, a)
		return
	}
	// A chunk that is not here is not here for the Machine either: it believes no verdict about it.
	e.soon(scheduler.LinkChecked{
		Blob: a.Blob, Chunk: a.Chunk, Supplier: a.Supplier, Holds: err == nil, Verified: verified,
	})
}

func holds(p *store.Partial, i blob.ChunkIndex) bool {
	r, v, q := p.States()
	return r.Has(i) || v.Has(i) || q.Has(i)
}

// hashPrefix extends the blob's own chain from the IV over stored chunks.
func (e *Engine) hashPrefix(ctx context.Context, a scheduler.HashPrefix) {
	var partial *store.Partial
	d := e.find(a.Blob)
	if d != nil {
		partial = d.live()
	}
	if partial == nil {
		e.soon(scheduler.PrefixHashed{Blob: a.Blob, Next: a.First})
		return
	}
	e.onCore(ctx, func() {
		next, verified, mismatch, err := partial.HashPrefix(a.First, a.Through)
		e.inLoop(func(context.Context) {
			if e.find(a.Blob) != d {
				return
			}
			if errors.Is(err, store.ErrDisk) {
				e.loseChunk(d, next, err)
			}
			e.soon(scheduler.PrefixHashed{Blob: a.Blob, Next: next, Verified: verified, Mismatch: mismatch})
		})
	})
}

// maxLosses is how many chunks of one download may turn out unreadable before the disk
// is not trusted with it any more: each loss costs another read of the chunk.
const maxLosses = 8

// loseChunk forgets a chunk whose bytes could not be read back. It runs in the loop.
func (e *Engine) loseChunk(d *download, i blob.ChunkIndex, err error) {
	if d.live() == nil || !d.geometry.Valid(i) {
		return // ended meanwhile
	}
	e.cfg.Log.Warn("stored chunk unreadable", "blob", d.digest.String(), "chunk", int(i), "err", err)
	e.cfg.OnDisk(err)
	if d.losses++; d.losses >= maxLosses {
		e.diskFailed(d, err)
	}
	e.drop(d, i)
	e.soon(scheduler.ChunkLost{Blob: d.digest, Chunk: i})
}

func (e *Engine) dropChunk(a scheduler.DropChunk) {
	if d := e.find(a.Blob); d != nil {
		e.drop(d, a.Chunk)
	}
}

// drop forgets a chunk: at once, because its next bytes may be on their way. It runs in
// the loop; what it writes is one slot of the state file.
func (e *Engine) drop(d *download, i blob.ChunkIndex) {
	partial := d.live()
	if partial == nil {
		return
	}
	d.dropped[i]++
	if servable(partial, i) {
		d.rewrote()
	}
	err := partial.Drop(i)
	if errors.Is(err, store.ErrHeld) {
		d.dropLater[i] = true // an audit has hold of it: what the audit brings is good
		return
	}
	if err != nil {
		e.cfg.Log.Warn("chunk not dropped", "blob", d.digest.String(), "chunk", int(i), "err", err)
	}
}

func (e *Engine) dropChain(a scheduler.DropChain) {
	d := e.find(a.Blob)
	if d == nil {
		return
	}
	d.mu.Lock()
	d.claims.drop(a.Supplier)
	d.mu.Unlock()
	if partial := d.live(); partial != nil {
		partial.DropLinks()
	}
}

// useClaim is the chain that the peer supplied, or none.
func (d *download) useClaim(from scheduler.PeerID) chain.Chain {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.claims.use(from)
}

// release has the store prove the blob, serves the clients, and puts it in its place.
func (e *Engine) release(ctx context.Context, a scheduler.Release) {
	d := e.find(a.Blob)
	if d == nil {
		return
	}
	partial := d.live()
	if partial == nil {
		return // it ended, or was proven all along and is told so
	}
	e.onCore(ctx, func() {
		if err := partial.Prove(); err != nil {
			e.cfg.Log.WarnContext(ctx, "blob not proven", "blob", a.Blob.String(), "err", err)
			e.about(d, scheduler.PrefixHashed{Blob: a.Blob, Mismatch: true})
			return
		}
		if !d.prove() {
			return
		}
		e.traffic.proven.Add(1)
		e.inLoop(func(context.Context) {
			if e.find(a.Blob) == d {
				d.seeding = true
				e.soon(scheduler.BlobProven(a))
			}
		})
		e.cfg.Log.InfoContext(ctx, "blob proven", "blob", a.Blob.String(), "bytes", int64(d.geometry.Size()),
			"from_registry", d.fromUpstream.Load(), "from_peers", d.fromPeers.Load(),
			"seconds", time.Since(d.started).Seconds())
		e.commit(d, partial)
	})
}

// prove gives everything to the clients, and reports false if the download ended before.
func (d *download) prove() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return false
	}
	d.done, d.committing, d.lastUsed = true, true, time.Now()
	d.notify()
	return true
}

// commit puts a proven blob into its place. A disk that refuses costs only the copy:
// clients and peers go on with the open file until it is forgotten.
func (e *Engine) commit(d *download, partial *store.Partial) {
	err := partial.Commit()
	if err == nil || errors.Is(err, store.ErrDisk) {
		e.cfg.OnDisk(err)
	}
	var proven Proven
	if err == nil {
		proven, err = e.openProven(d.digest)
	}
	if err != nil {
		e.cfg.Log.Error("proven blob not kept", "blob", d.digest.String(), "err", err)
	}
	d.committed(proven)
}

// committed hands over the blob in its place, if it is there. The partial file stays
// open: somebody may be reading from it.
func (d *download) committed(proven Proven) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.committing = false
	switch {
	case proven == nil:
	case d.gone:
		_ = proven.Close() // it was only read
	default:
		d.proven = proven
	}
}
