package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// lockName is the file that says whether a daemon uses the folder, and that it is a store's.
const lockName = "lock"

// ErrNoStore says that a folder holds something, but no store.
var ErrNoStore = errors.New("it holds something else than a store of Shoal's")

// Erase removes a store that no daemon uses, with all that is in its folder, and the folder
// itself unless a file system is mounted there. A folder that is missing, or empty, is no
// error. It fails with ErrLocked while a daemon uses it, and with ErrNoStore before it
// touches a folder of somebody else's. After another error some of it is gone; the next
// Erase goes on.
func Erase(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		if err := eraseContent(dir, entries); err != nil {
			return fmt.Errorf("erase %s: %w", dir, err)
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, syscall.EBUSY) {
		return err
	}
	return nil
}

// eraseContent removes the lock last: it is by the lock that the next Erase knows the folder.
func eraseContent(dir string, entries []fs.DirEntry) error {
	name := filepath.Join(dir, lockName)
	if info, err := os.Lstat(name); err != nil || !info.Mode().IsRegular() {
		return ErrNoStore
	}
	lock, err := disk{}.Lock(name)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	for _, e := range entries {
		if e.Name() == lockName {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return os.Remove(name)
}
