package hostfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
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
// has it, for half a minute. It fails with fs.ErrNotExist where there is no such folder, or
// none any more once it has waited.
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
			return t.stillThere(f, actual, folder)
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

// stillThere returns the lock on a folder unless somebody has removed it meanwhile.
func (t *Tree) stillThere(f *os.File, actual, folder string) (io.Closer, error) {
	held, err := f.Stat()
	if err == nil {
		now, statErr := t.root.Stat(local(actual))
		if statErr == nil && os.SameFile(held, now) {
			return f, nil
		}
		err = fs.ErrNotExist
	}
	return nil, errors.Join(&fs.PathError{Op: "lock", Path: folder, Err: err}, f.Close())
}
