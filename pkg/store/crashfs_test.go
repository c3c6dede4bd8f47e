package store_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/store"
)

// errCrashed is what every call returns between a crash and the restart.
var errCrashed = errors.New("crashed")

// A crashFS is a file system in memory that forgets, at a crash, what was not synced: any
// of the writes since the last fsync, in parts, and any of the newest changes to a folder.
// It also fails at a chosen call. Like a disk used by an ordinary user, it does not open a
// read-only file for writing.
type crashFS struct {
	mu      sync.Mutex
	rng     *rand.Rand
	folders map[string]*folder
	life    int // which boot it is: files opened in another are dead
	locked  bool

	calls   int
	crashAt int // the call that crashes; 0 is never
	failAt  int // the call that fails; 0 is never
	failFor int // how many calls fail from there on
	failure error
	crashed bool
	space   blob.ByteCount // free; 0 is plenty
}

type folder struct {
	names   map[string]*inode
	durable map[string]*inode
	pending []map[string]*inode // changes in order; nil removes the name
}

type inode struct {
	content, durable []byte
	pending          []edit
	perm             fs.FileMode
	mtime            time.Time
}

// An edit is a write, or a new size where content is nil.
type edit struct {
	at      int64
	content []byte
}

func newCrashFS(seed uint64) *crashFS {
	return &crashFS{rng: rand.New(rand.NewPCG(seed, 1)), folders: map[string]*folder{}}
}

// restart ends the crash. With power the page cache survived: only the process died.
func (c *crashFS) restart(power bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.life++
	c.crashed, c.locked = false, false
	c.calls, c.crashAt, c.failAt = 0, 0, 0
	if power {
		return
	}
	seen := map[*inode]bool{}
	for _, name := range slices.Sorted(maps.Keys(c.folders)) {
		f := c.folders[name]
		kept := c.rng.IntN(len(f.pending) + 1)
		for _, change := range f.pending[:kept] {
			f.durable = apply(f.durable, change)
		}
		f.pending = nil
		f.names = maps.Clone(f.durable)
		for _, file := range slices.Sorted(maps.Keys(f.names)) {
			if ino := f.names[file]; !seen[ino] {
				seen[ino] = true
				c.forget(ino)
			}
		}
	}
}

// forget drops some of what was written to the file since its last fsync.
func (c *crashFS) forget(ino *inode) {
	for _, e := range ino.pending {
		switch c.rng.IntN(3) {
		case 0: // lost
		case 1:
			ino.durable = e.apply(ino.durable)
		case 2: // torn into sectors
			const sector = 512
			for at := 0; at < len(e.content); at += sector {
				if c.rng.IntN(2) == 0 {
					part := edit{at: e.at + int64(at), content: e.content[at:min(at+sector, len(e.content))]}
					ino.durable = part.apply(ino.durable)
				}
			}
		}
	}
	ino.pending = nil
	ino.content = bytes.Clone(ino.durable)
}

func (e edit) apply(p []byte) []byte {
	end := e.at + int64(len(e.content))
	if e.content == nil {
		p = p[:min(int64(len(p)), e.at)]
	}
	if int64(len(p)) < end {
		p = append(p, make([]byte, end-int64(len(p)))...)
	}
	copy(p[e.at:], e.content)
	return p
}

func apply(names, change map[string]*inode) map[string]*inode {
	out := maps.Clone(names)
	for name, ino := range change {
		if ino == nil {
			delete(out, name)
		} else {
			out[name] = ino
		}
	}
	return out
}

// step counts a call and says whether it fails.
func (c *crashFS) step() error {
	c.calls++
	switch {
	case c.crashed:
		return errCrashed
	case c.calls == c.crashAt:
		c.crashed = true
		return errCrashed
	case c.failAt > 0 && c.calls >= c.failAt && c.calls < c.failAt+c.failFor:
		return c.failure
	}
	return nil
}

func (c *crashFS) change(dir string, change map[string]*inode) {
	f := c.folders[dir]
	f.names = apply(f.names, change)
	f.pending = append(f.pending, change)
}

func (c *crashFS) find(name string) *inode {
	f := c.folders[filepath.Dir(name)]
	if f == nil {
		return nil
	}
	return f.names[filepath.Base(name)]
}

func (c *crashFS) MkdirAll(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.step(); err != nil {
		return err
	}
	for ; name != "/" && name != "."; name = filepath.Dir(name) {
		if c.folders[name] == nil {
			c.folders[name] = &folder{names: map[string]*inode{}, durable: map[string]*inode{}}
		}
	}
	return nil
}

func (c *crashFS) OpenFile(name string, flag int, perm fs.FileMode) (store.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.step(); err != nil {
		return nil, err
	}
	ino := c.find(name)
	switch {
	case ino == nil && (flag&osCreate == 0 || c.folders[filepath.Dir(name)] == nil):
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	case ino != nil && flag&osExcl != 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrExist}
	case ino != nil && flag&osRdwr != 0 && ino.perm&0o200 == 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	case ino == nil:
		ino = &inode{perm: perm, mtime: time.Now()}
		c.change(filepath.Dir(name), map[string]*inode{filepath.Base(name): ino})
	}
	return &crashFile{fs: c, ino: ino, life: c.life, name: filepath.Base(name)}, nil
}

func (c *crashFS) ReadDir(name string) ([]fs.DirEntry, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.step(); err != nil {
		return nil, err
	}
	f := c.folders[name]
	if f == nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: fs.ErrNotExist}
	}
	var out []fs.DirEntry
	for _, file := range slices.Sorted(maps.Keys(f.names)) {
		out = append(out, fs.FileInfoToDirEntry(info{name: file, size: int64(len(f.names[file].content)), ino: f.names[file]}))
	}
	for _, sub := range slices.Sorted(maps.Keys(c.folders)) {
		if filepath.Dir(sub) == name {
			out = append(out, fs.FileInfoToDirEntry(info{name: filepath.Base(sub)}))
		}
	}
	return out, nil
}

func (c *crashFS) Rename(from, to string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.step(); err != nil {
		return err
	}
	ino := c.find(from)
	if ino == nil || c.folders[filepath.Dir(to)] == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	gone, come := map[string]*inode{filepath.Base(from): nil}, map[string]*inode{filepath.Base(to): ino}
	if filepath.Dir(from) == filepath.Dir(to) {
		maps.Copy(gone, come)
		c.change(filepath.Dir(to), gone)
		return nil
	}
	// Two folders become durable each in its own time: both names, or none, may be left.
	c.change(filepath.Dir(from), gone)
	c.change(filepath.Dir(to), come)
	return nil
}

func (c *crashFS) Remove(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.step(); err != nil {
		return err
	}
	if f := c.folders[name]; f != nil {
		if len(f.names) > 0 {
			return &fs.PathError{Op: "remove", Path: name, Err: errors.New("folder not empty")}
		}
		if len(f.pending) == 0 || c.rng.IntN(2) == 0 {
			delete(c.folders, name) // otherwise it is still there, empty, until the next crash
		}
		return nil
	}
	if c.find(name) == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	c.change(filepath.Dir(name), map[string]*inode{filepath.Base(name): nil})
	return nil
}

func (c *crashFS) Chmod(name string, perm fs.FileMode) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.step(); err != nil {
		return err
	}
	ino := c.find(name)
	if ino == nil {
		return &fs.PathError{Op: "chmod", Path: name, Err: fs.ErrNotExist}
	}
	ino.perm = perm
	return nil
}

func (c *crashFS) Chtimes(name string, mtime time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.step(); err != nil {
		return err
	}
	if ino := c.find(name); ino != nil {
		ino.mtime = mtime
	}
	return nil
}

func (c *crashFS) SyncDir(name string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.step(); err != nil {
		return err
	}
	f := c.folders[name]
	if f == nil {
		return &fs.PathError{Op: "sync", Path: name, Err: fs.ErrNotExist}
	}
	f.durable, f.pending = maps.Clone(f.names), nil
	return nil
}

func (c *crashFS) Lock(string) (io.Closer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.step(); err != nil {
		return nil, err
	}
	if c.locked {
		return nil, store.ErrLocked
	}
	c.locked = true
	return &crashLock{fs: c, life: c.life}, nil
}

type crashLock struct {
	fs   *crashFS
	life int
}

func (l *crashLock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	if l.fs.life == l.life {
		l.fs.locked = false
	}
	return nil
}

func (c *crashFS) Space(string) (free, total blob.ByteCount, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.step(); err != nil {
		return 0, 0, err
	}
	if c.space > 0 {
		return c.space, 100 * blob.GiB, nil
	}
	return 50 * blob.GiB, 100 * blob.GiB, nil
}

// names lists every file, for failure messages.
func (c *crashFS) names() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for dir, f := range c.folders {
		for name := range f.names {
			out = append(out, filepath.Join(dir, name))
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}
