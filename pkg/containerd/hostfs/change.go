package hostfs

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"syscall"
)

// tempName is what is not in place yet, or not gone yet. One of them is enough where the
// folder is locked; a crash may leave it behind, and the next change takes it away.
const tempName = ".shoal-tmp"

// Replace puts a file into place, or another text into the file that is there, whose mode
// and owner it keeps. perm is that of a new file. The folder must exist; links are
// followed.
func (t *Tree) Replace(name string, content []byte, perm fs.FileMode) error {
	actual, exists, err := t.Resolve(name)
	if err != nil {
		return err
	}
	folder := path.Dir(actual)
	temp := path.Join(folder, tempName)
	var old fs.FileInfo
	if exists {
		if old, err = t.root.Lstat(local(actual)); err != nil {
			return named(err, name)
		}
		if !old.Mode().IsRegular() {
			return &fs.PathError{Op: "replace", Path: name, Err: ErrNotRegular}
		}
		perm = old.Mode().Perm()
	}
	err = t.write(temp, content, perm, old)
	if err == nil {
		err = t.rename(temp, actual)
	}
	if err != nil {
		return named(errors.Join(err, t.clean(folder)), name)
	}
	return t.sync(folder)
}

// MakeFolder makes a folder that holds one file. Nobody sees it without.
func (t *Tree) MakeFolder(name, file string, content []byte) error {
	actual, _, err := t.Resolve(name)
	if err != nil {
		return err
	}
	parent := path.Dir(actual)
	temp := path.Join(parent, tempName)
	err = t.clean(parent)
	if err == nil {
		err = t.mkdir(temp)
	}
	if err == nil {
		err = t.write(path.Join(temp, file), content, 0o644, nil)
	}
	if err == nil {
		err = t.sync(temp)
	}
	if err == nil {
		err = t.rename(temp, actual)
	}
	if err != nil {
		return named(errors.Join(err, t.clean(parent)), name)
	}
	return t.sync(parent)
}

// MakeAll makes a folder and those above it, and reports whether it was missing.
func (t *Tree) MakeAll(name string) (made bool, err error) {
	parent := path.Dir(name)
	if parent != name {
		if exists, err := t.Exists(parent); err != nil {
			return false, err
		} else if !exists {
			if _, err := t.MakeAll(parent); err != nil {
				return false, err
			}
		}
	}
	actual, exists, err := t.Resolve(name)
	if err != nil || exists {
		return false, err
	}
	if err := t.mkdir(actual); err != nil {
		return false, named(err, name)
	}
	return true, t.sync(path.Dir(actual))
}

// RemoveFile removes a file. Links to it stay.
func (t *Tree) RemoveFile(name string) error {
	actual, exists, err := t.Resolve(name)
	if err != nil || !exists {
		return err
	}
	if err := t.remove(actual); err != nil {
		return named(err, name)
	}
	return t.sync(path.Dir(actual))
}

// RemoveFolder removes a folder that holds nothing but one file, at once: nobody sees it
// without. It fails with fs.ErrExist when there is more in it.
func (t *Tree) RemoveFolder(name, file string) error {
	actual, exists, err := t.Resolve(name)
	if err != nil || !exists {
		return err
	}
	entries, err := t.ReadDir(actual)
	if err != nil {
		return named(err, name)
	}
	for _, entry := range entries {
		if entry != file && entry != tempName {
			return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrExist}
		}
	}
	parent := path.Dir(actual)
	if err := t.clean(parent); err != nil {
		return err
	}
	if err := t.rename(actual, path.Join(parent, tempName)); err != nil {
		return named(err, name)
	}
	return errors.Join(t.sync(parent), t.clean(parent))
}

// RemoveEmpty removes a folder if nothing is in it, and no file system is mounted on it.
// What is no folder stays as well.
func (t *Tree) RemoveEmpty(name string) error {
	actual, exists, err := t.Resolve(name)
	if err != nil || !exists || !t.IsDir(actual) {
		return err
	}
	err = t.remove(actual)
	if errors.Is(err, syscall.ENOTEMPTY) || errors.Is(err, fs.ErrExist) || errors.Is(err, syscall.EBUSY) {
		return nil
	}
	if err != nil {
		return named(err, name)
	}
	return t.sync(path.Dir(actual))
}

// Sweep takes away what a crash left behind in a folder. Nobody may be changing the folder.
func (t *Tree) Sweep(folder string) error {
	actual, exists, err := t.Resolve(folder)
	if err != nil || !exists {
		return err
	}
	return t.clean(actual)
}

// clean takes away what a crash left behind in a folder.
func (t *Tree) clean(folder string) error {
	temp := path.Join(folder, tempName)
	info, err := t.root.Lstat(local(temp))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		entries, err := t.ReadDir(temp)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if err := t.remove(path.Join(temp, entry)); err != nil {
				return err
			}
		}
	}
	return t.remove(temp)
}

// write makes a new file, durable, with the owner of old unless that is nil.
func (t *Tree) write(name string, content []byte, perm fs.FileMode, old fs.FileInfo) (err error) {
	if path.Base(name) == tempName {
		if err := t.clean(path.Dir(name)); err != nil {
			return err
		}
	}
	if err := t.before("create", name); err != nil {
		return err
	}
	f, err := t.root.OpenFile(local(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := t.before("write", name); err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return err
	}
	if err := keepOwner(f, old); err != nil {
		return err
	}
	if err := f.Chmod(perm); err != nil { // past the umask
		return err
	}
	if err := t.before("sync", name); err != nil {
		return err
	}
	return f.Sync()
}

func keepOwner(f *os.File, old fs.FileInfo) error {
	if old == nil {
		return nil
	}
	now, err := f.Stat()
	if err != nil {
		return err
	}
	is, okIs := now.Sys().(*syscall.Stat_t)
	was, okWas := old.Sys().(*syscall.Stat_t)
	if !okIs || !okWas || is.Uid == was.Uid && is.Gid == was.Gid {
		return nil
	}
	return f.Chown(int(was.Uid), int(was.Gid))
}

func (t *Tree) mkdir(name string) error {
	if err := t.before("mkdir", name); err != nil {
		return err
	}
	if err := t.root.Mkdir(local(name), 0o755); err != nil {
		return err
	}
	return t.root.Chmod(local(name), 0o755) // past the umask
}

func (t *Tree) rename(from, to string) error {
	if err := t.before("rename", to); err != nil {
		return err
	}
	return t.root.Rename(local(from), local(to))
}

func (t *Tree) remove(name string) error {
	if err := t.before("remove", name); err != nil {
		return err
	}
	return t.root.Remove(local(name))
}

// sync makes the entries of a folder durable.
func (t *Tree) sync(folder string) error {
	if err := t.before("syncdir", folder); err != nil {
		return err
	}
	f, err := t.root.Open(local(folder))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
