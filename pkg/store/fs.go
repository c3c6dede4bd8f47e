package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoal-project/shoal/pkg/blob"
)

// An FS is what the store needs of a file system. Names are whole paths. The disk is the
// default; tests put one in its place that fails or crashes at a chosen call.
type FS interface {
	// MkdirAll makes the folder and those above it, for this user only.
	MkdirAll(name string) error
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	ReadDir(name string) ([]fs.DirEntry, error)
	Rename(from, to string) error
	// Remove removes a file or an empty folder.
	Remove(name string) error
	Chmod(name string, perm fs.FileMode) error
	Chtimes(name string, mtime time.Time) error
	// SyncDir makes the folder's entries durable.
	SyncDir(name string) error
	// Lock takes the lock file until the Closer is closed or the process ends. It fails
	// with ErrLocked when somebody else has it.
	Lock(name string) (io.Closer, error)
	// Space tells how many bytes the disk has left for this user, and how many in all.
	Space(name string) (free, total blob.ByteCount, err error)
}

// A File is an open file. Its methods are safe for concurrent use.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Stat() (fs.FileInfo, error)
	Truncate(size int64) error
	Sync() error
	Chmod(perm fs.FileMode) error
}

// disk is the FS of the operating system.
type disk struct{}

func (disk) MkdirAll(name string) error                 { return os.MkdirAll(name, 0o700) }
func (disk) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }
func (disk) Rename(from, to string) error               { return os.Rename(from, to) }
func (disk) Remove(name string) error                   { return os.Remove(name) }
func (disk) Chmod(name string, perm fs.FileMode) error  { return os.Chmod(name, perm) }
func (disk) Chtimes(name string, mtime time.Time) error { return os.Chtimes(name, time.Time{}, mtime) }

// OpenFile returns an *os.File; reopen counts on that.
func (disk) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm) //nolint:gosec // the store's own path, made of a digest
	if err != nil {
		return nil, err // not a nil *os.File inside a File
	}
	return f, nil
}

func (disk) SyncDir(name string) error {
	dir, err := os.Open(name) //nolint:gosec // the store's own path
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (disk) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // the store's own path
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, ErrLocked
	}
	return nil, fmt.Errorf("lock %s: %w", name, err)
}

func (disk) Space(name string) (free, total blob.ByteCount, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(name, &st); err != nil {
		return 0, 0, fmt.Errorf("statfs %s: %w", name, err)
	}
	unit := blob.ByteCount(st.Bsize)
	return blob.ByteCount(st.Bavail) * unit, blob.ByteCount(st.Blocks) * unit, nil
}

// reopen opens the file that f has open once more, with an offset of its own, wherever
// its name is by now: renamed into place, or evicted. Where /proc is missing it goes by
// the names given, and takes one only if it is the same file.
func reopen(f File, names ...string) (*os.File, error) {
	own, ok := f.(*os.File)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	conn, err := own.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("open the blob again: %w", err)
	}
	var again *os.File
	var openErr error
	err = conn.Control(func(fd uintptr) {
		again, openErr = os.Open("/proc/self/fd/" + strconv.FormatUint(uint64(fd), 10))
	})
	if err != nil {
		return nil, fmt.Errorf("open the blob again: %w", err)
	}
	if openErr == nil {
		return again, nil
	}
	for _, name := range names {
		if again, err := openSame(own, name); err == nil {
			return again, nil
		}
	}
	return nil, &DiskError{Op: "open the blob again", Err: openErr}
}

func openSame(own *os.File, name string) (*os.File, error) {
	again, err := os.Open(name) //nolint:gosec // the store's own path
	if err != nil {
		return nil, err
	}
	a, errA := own.Stat()
	b, errB := again.Stat()
	if err := errors.Join(errA, errB); err != nil || !os.SameFile(a, b) {
		_ = again.Close()
		return nil, errors.Join(fs.ErrNotExist, err)
	}
	return again, nil
}
