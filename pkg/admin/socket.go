package admin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// ErrRunning is wrapped by Listen's error when somebody listens on the socket.
var ErrRunning = errors.New("another shoal daemon is running")

const (
	socketMode = 0o600
	folderMode = 0o755
	// probeWait is how long a socket that is there is given to accept a connection.
	probeWait = 2 * time.Second
)

// bind listens on a new unix socket at path and returns what identifies it. A lock on
// the folder keeps two daemons that start together from removing each other's socket.
func bind(ctx context.Context, path string) (_ net.Listener, _ os.FileInfo, err error) {
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, folderMode); err != nil {
		return nil, nil, fmt.Errorf("create its folder: %w", err)
	}
	unlock, err := lock(folder)
	if err != nil {
		return nil, nil, err
	}
	defer unlock()
	if err := makeRoom(ctx, path); err != nil {
		return nil, nil, err
	}
	// On Linux a socket file gets the mode of the socket it is bound to, so that it is
	// never there with another; elsewhere the Chmod below gives it.
	private := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) { failed = syscall.Fchmod(int(fd), socketMode) })
		return errors.Join(err, ignoreUnsupported(failed))
	}}
	listener, err := private.Listen(ctx, "unix", path)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, listener.Close())
		}
	}()
	if unix, ok := listener.(*net.UnixListener); ok {
		unix.SetUnlinkOnClose(false) // unbind does, if it is still ours
	}
	if err := os.Chmod(path, socketMode); err != nil {
		return nil, nil, err
	}
	bound, err := os.Lstat(path)
	if err != nil {
		return nil, nil, err
	}
	return listener, bound, nil
}

func ignoreUnsupported(err error) error {
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

// lock takes the folder for this process. The function it returns gives it back.
func lock(folder string) (unlock func(), err error) {
	f, err := os.Open(folder) //nolint:gosec // an operator's setting
	if err != nil {
		return nil, fmt.Errorf("open its folder: %w", err)
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return nil, errors.Join(fmt.Errorf("lock its folder %s: %w", folder, err), f.Close())
	}
	return func() { _ = f.Close() }, nil // closing unlocks; it was open for reading only
}

// makeRoom makes room at path: a socket nobody listens on is removed, anything else is an error.
func makeRoom(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there and is not a socket: remove it, or choose another path", path)
	}
	dialer := net.Dialer{Timeout: probeWait}
	conn, err := dialer.DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		return errors.Join(fmt.Errorf("%w: it answers on %s", ErrRunning, path), conn.Close())
	case errors.Is(err, syscall.ECONNREFUSED):
		return os.Remove(path)
	default:
		return fmt.Errorf("see whether a daemon is running: %w", err)
	}
}

// unbind removes the socket file unless another daemon has put its own there.
func unbind(path string, bound os.FileInfo) {
	info, err := os.Lstat(path)
	if err == nil && os.SameFile(info, bound) {
		_ = os.Remove(path) // a file that stays is replaced by the next daemon
	}
}
