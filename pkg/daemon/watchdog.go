package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errHung ends a daemon that is worse than none: containerd would wait for it (promise P2).
var errHung = errors.New("the engine does not answer: the daemon ends so that containerd goes to the registry")

// watch ends the daemon when its engine no longer answers.
func (n *node) watch(ctx context.Context) error {
	return every(ctx, n.timing.watch, n.awaitPing)
}

func (n *node) awaitPing(ctx context.Context) error {
	wait, done := context.WithTimeout(ctx, n.timing.hung)
	defer done()
	err := n.engine.Ping(wait)
	if err == nil || ctx.Err() != nil {
		return nil
	}
	n.log.ErrorContext(ctx, "engine hung", "goroutines", stacks())
	return fmt.Errorf("%w (%w)", errHung, err)
}

// keepTrim keeps the store within its bounds. It is not watch's work: a disk that hangs
// must not hold up the watchdog.
func (n *node) keepTrim(ctx context.Context) error {
	return every(ctx, n.timing.trim, func(context.Context) error {
		n.store.Trim()
		return nil
	})
}

// every does work again and again until ctx ends or it fails.
func every(ctx context.Context, pause time.Duration, work func(context.Context) error) error {
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := work(ctx); err != nil {
			return err
		}
	}
}
