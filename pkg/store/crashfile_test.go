package store_test

import (
	"bytes"
	"io"
	"io/fs"
	"time"
)

// A crashFile is an open file of a crashFS.
type crashFile struct {
	fs   *crashFS
	ino  *inode
	life int
	name string
}

// enter locks the file system and counts the call; the caller unlocks it in any case.
func (f *crashFile) enter() error {
	f.fs.mu.Lock()
	if f.life != f.fs.life {
		return errCrashed
	}
	return f.fs.step()
}

func (f *crashFile) ReadAt(p []byte, off int64) (int, error) {
	err := f.enter()
	defer f.fs.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if off >= int64(len(f.ino.content)) {
		return 0, io.EOF
	}
	n := copy(p, f.ino.content[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *crashFile) WriteAt(p []byte, off int64) (int, error) {
	err := f.enter()
	defer f.fs.mu.Unlock()
	if f.life != f.fs.life {
		return 0, errCrashed
	}
	n := len(p)
	if err != nil { // some of it got there
		n = f.fs.rng.IntN(len(p) + 1)
	}
	e := edit{at: off, content: append([]byte{}, p[:n]...)}
	f.ino.content = e.apply(f.ino.content)
	f.ino.pending = append(f.ino.pending, e)
	f.ino.mtime = time.Now()
	return n, err
}

func (f *crashFile) Truncate(size int64) error {
	err := f.enter()
	defer f.fs.mu.Unlock()
	if err != nil {
		return err
	}
	for _, e := range []edit{{at: size}, {at: size, content: []byte{}}} {
		f.ino.content = e.apply(f.ino.content)
		f.ino.pending = append(f.ino.pending, e)
	}
	return nil
}

func (f *crashFile) Sync() error {
	err := f.enter()
	defer f.fs.mu.Unlock()
	if err != nil {
		return err
	}
	f.ino.durable, f.ino.pending = bytes.Clone(f.ino.content), nil
	return nil
}

func (f *crashFile) Chmod(perm fs.FileMode) error {
	err := f.enter()
	defer f.fs.mu.Unlock()
	if err != nil {
		return err
	}
	f.ino.perm = perm
	return nil
}

func (f *crashFile) Stat() (fs.FileInfo, error) {
	err := f.enter()
	defer f.fs.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return info{name: f.name, size: int64(len(f.ino.content)), ino: f.ino}, nil
}

func (f *crashFile) Close() error { return nil }

// info is a fs.FileInfo; without an inode it is a folder's.
type info struct {
	name string
	size int64
	ino  *inode
}

func (i info) Name() string { return i.name }
func (i info) Size() int64  { return i.size }
func (i info) IsDir() bool  { return i.ino == nil }
func (i info) Sys() any     { return nil }
func (i info) Mode() fs.FileMode {
	if i.ino == nil {
		return fs.ModeDir | 0o700
	}
	return i.ino.perm
}

func (i info) ModTime() time.Time {
	if i.ino == nil {
		return time.Time{}
	}
	return i.ino.mtime
}
