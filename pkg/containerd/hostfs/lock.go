package hostfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"
)

const (
	lockPatience = 30 * time.Second
	lockPause    = 20 * time.Millisecond
)

// ErrLocked says that somebody else has kept the lock for too long.
var ErrLocked = errors.New("another shoal containerd command is at work there")

// Lock takes a folder until the Closer is closed or the process ends. It waits for whoever
// has it, for half a minute.
func (t *Tree) Lock(ctx context.Context, folder string) (io.Closer, error) {
	actual, _, err := t.Resolve(folder)
	if err != nil {
		return nil, err
	}
	f, err := t.root.Open(local(actual))
	if err != nil {
		return nil, named(err, folder)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, lockPatience, ErrLocked)
	defer cancel()
	pause := time.NewTicker(lockPause)
	defer pause.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", folder, err), f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("lock %s: %w", folder, context.Cause(ctx)), f.Close())
		case <-pause.C:
		}
	}
}
