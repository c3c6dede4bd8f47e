package content

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

// Run follows containerd and hashes what it holds, until ctx ends. Every goroutine that it
// started is done when it returns.
func (c *Content) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { c.proveAll(ctx) })
	all.Go(func() { c.sweepAll(ctx) })
	pause := c.cfg.Timing.Retry
	for {
		began := time.Now()
		err := c.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(began) > c.cfg.Timing.RetryMax {
			pause = c.cfg.Timing.Retry // it was good for a while
		}
		c.loseRuntime(err)
		// Half of the pause is drawn: not every node of a cluster is to come back at once.
		if !sleep(ctx, pause/2+rand.N(pause/2+1)) { //nolint:forbidigo // when to come back needs no seed
			return nil
		}
		pause = min(2*pause, c.cfg.Timing.RetryMax)
	}
}

// sleep reports false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// follow learns what there is, and keeps up with it, until the runtime is lost.
func (c *Content) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	changed := make(chan struct{}, 1)
	changed <- struct{}{} // whatever it was before
	var following sync.WaitGroup
	following.Go(func() {
		cancel(c.cfg.Runtime.Follow(ctx, func(ev Event) { c.heard(ev, changed) }))
	})
	defer func() {
		cancel(nil)
		following.Wait()
	}()
	relist := time.NewTicker(c.cfg.Timing.Relist)
	defer relist.Stop()
	for first := true; ; first = false {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-relist.C:
		case <-changed:
			if !first && !sleep(ctx, c.cfg.Timing.Settle) {
				return context.Cause(ctx)
			}
		}
		if err := c.relist(ctx); err != nil {
			return err
		}
	}
}

// heard takes one event.
func (c *Content) heard(ev Event, changed chan<- struct{}) {
	switch ev := ev.(type) {
	case Created:
		c.mu.Lock()
		c.index.add(time.Now(), ev.Held)
		c.mu.Unlock()
		c.wake()
	case Removed:
		c.forget(ev.Digest)
	case Changed:
		select {
		case changed <- struct{}{}:
		default: // a listing is due already
		}
	}
}

// relist takes a whole listing.
func (c *Content) relist(ctx context.Context) error {
	began := time.Now()
	if err := c.readable(); err != nil {
		return err
	}
	all, err := c.cfg.Runtime.List(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	was := c.lost
	c.lost = nil
	gone := c.index.list(began, all)
	c.mu.Unlock()
	if was != nil {
		c.cfg.Log.InfoContext(ctx, "containerd's content is followed", "blobs", len(all))
		c.cleanProofs()
	}
	for _, d := range gone {
		c.gone(d)
	}
	c.wake()
	return nil
}

// readable reports why nothing of the folder could be offered: it is not there, or this user
// may not look into it.
func (c *Content) readable() error {
	f, err := os.Open(filepath.Dir(c.path(blob.Digest{})))
	if err != nil {
		return err
	}
	_, err = f.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// cleanProofs removes what is left of blobs that went while nobody looked.
func (c *Content) cleanProofs() {
	err := c.proofs.retain(func(d blob.Digest) bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.index.entries[d] != nil
	})
	if err != nil {
		c.cfg.Log.Warn("proofs not cleaned up", "err", err)
	}
}

func (c *Content) loseRuntime(err error) {
	if err == nil {
		err = errors.New("it hung up")
	}
	c.mu.Lock()
	first := c.lost == nil || errors.Is(c.lost, errNotYet)
	c.lost = err
	c.mu.Unlock()
	if first {
		c.cfg.Log.Info("containerd's content is not followed; pulls do not need it", "err", err)
	}
}

func (c *Content) sweepAll(ctx context.Context) {
	for sleep(ctx, c.cfg.Timing.Sweep) {
		c.sweep()
	}
}

// sweep drops blobs whose files are gone, and has those looked at anew that changed.
func (c *Content) sweep() {
	c.mu.Lock()
	looked := make([]entry, 0, len(c.index.entries))
	for _, e := range c.index.entries {
		if e.state == proven || e.state == unfit {
			looked = append(looked, *e)
		}
	}
	c.mu.Unlock()
	for _, e := range looked {
		info, err := os.Lstat(c.path(e.digest))
		if errors.Is(err, fs.ErrNotExist) {
			c.forget(e.digest)
		}
		if err != nil {
			continue
		}
		now, _, _ := identityOf(info)
		switch {
		case now == e.file, e.file == identity{}:
		case e.state == proven:
			c.doubt(e.digest)
		default:
			c.mu.Lock()
			c.index.again(e.digest)
			c.mu.Unlock()
			c.wake()
		}
	}
}
