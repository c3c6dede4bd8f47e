package daemon

import (
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"strings"
	"time"
)

const (
	watchEvery = 10 * time.Second
	// watchWait is how long the engine may take to answer before the node counts as hung.
	// A hung daemon is worse than none: containerd would wait for it (promise P2).
	watchWait = 30 * time.Second
)

var errHung = errors.New("the engine does not answer: the daemon ends so that containerd goes to the registry")

// watch ends the daemon when its engine no longer answers. It also trims the store.
func (n *node) watch(ctx context.Context) error {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		n.store.Trim()
		if err := n.awaitPing(ctx); err != nil {
			return err
		}
	}
}

func (n *node) awaitPing(ctx context.Context) error {
	wait, done := context.WithTimeout(ctx, watchWait)
	defer done()
	err := n.engine.Ping(wait)
	if err == nil || ctx.Err() != nil {
		return nil
	}
	var stacks strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1)
	n.log.Error("engine hung", "goroutines", stacks.String())
	return fmt.Errorf("%w (%w)", errHung, err)
}
