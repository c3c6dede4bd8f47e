package engine

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/store"
)

// A faultFS is the disk with faults that a test switches on. Its hooks may block.
type faultFS struct {
	mu      sync.Mutex
	faults  map[string]error // by what is attempted: open, write, read, rename, sync
	only    string           // part of the names that faults are for
	onOpen  func(name string)
	noSpace bool
}

func (f *faultFS) set(what string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.faults == nil {
		f.faults = map[string]error{}
	}
	f.faults[what] = err
}

func (f *faultFS) fault(what, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !strings.Contains(name, f.only) {
		return nil
	}
	return f.faults[what]
}

func (f *faultFS) MkdirAll(name string) error                 { return os.MkdirAll(name, 0o700) }
func (f *faultFS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }
func (f *faultFS) Remove(name string) error                   { return os.Remove(name) }
func (f *faultFS) Chmod(name string, perm fs.FileMode) error  { return os.Chmod(name, perm) }
func (f *faultFS) Chtimes(string, time.Time) error            { return nil }
func (f *faultFS) SyncDir(string) error                       { return nil }
func (f *faultFS) Lock(string) (io.Closer, error)             { return io.NopCloser(nil), nil }

func (f *faultFS) Rename(from, to string) error {
	if err := f.fault("rename", to); err != nil {
		return err
	}
	return os.Rename(from, to)
}

func (f *faultFS) Space(string) (free, total blob.ByteCount, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.noSpace {
		return 0, blob.GiB, nil
	}
	return blob.GiB, blob.GiB, nil
}

func (f *faultFS) OpenFile(name string, flag int, perm fs.FileMode) (store.File, error) {
	f.mu.Lock()
	hook := f.onOpen
	f.mu.Unlock()
	if hook != nil {
		hook(name)
	}
	if err := f.fault("open", name); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &faultFile{File: file, fs: f}, nil
}

type faultFile struct {
	*os.File
	fs *faultFS
}

func (f *faultFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fs.fault("write", f.Name()); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f *faultFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.fs.fault("read", f.Name()); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *faultFile) Sync() error {
	if err := f.fs.fault("sync", f.Name()); err != nil {
		return err
	}
	return f.File.Sync()
}

// isPartial reports whether the name is that of a partial blob's bytes.
func isPartial(name string) bool {
	return strings.Contains(name, "partial") && filepath.Base(name) == "data"
}

// diskNews gathers what OnDisk was told.
type diskNews struct {
	mu   sync.Mutex
	errs []error
	kept int
}

func (n *diskNews) tell(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil {
		n.kept++
		return
	}
	n.errs = append(n.errs, err)
}

func (n *diskNews) last() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.errs) == 0 {
		return nil
	}
	return n.errs[len(n.errs)-1]
}

// until waits for the condition, which the loop brings about, by asking the loop again and again.
func until(t *testing.T, e *Engine, what string, met func() bool) {
	t.Helper()
	ctx := deadline(t)
	for !met() {
		if err := e.Ping(ctx); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
}
