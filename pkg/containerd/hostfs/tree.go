package hostfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// linksMax is how many symbolic links one name may pass, as in Linux.
	linksMax = 40
	// entriesMax is how many entries of a folder are read.
	entriesMax = 4096
)

// Errors of reading.
var (
	ErrTooLarge   = errors.New("it is larger than a file of its kind can be")
	ErrNotRegular = errors.New("it is not a regular file")
)

// A Tree is the file tree under one folder. It is safe for concurrent use as far as the
// files are; Lock is for more.
type Tree struct {
	root *os.Root

	// before is called before each change to the disk, with what it is and the name. Its
	// error is returned in place of the change: for tests that crash.
	before func(change, name string) error
}

// Open opens the tree under a folder; "/" is this machine's own. The caller closes it.
func Open(folder string) (*Tree, error) {
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, err
	}
	return &Tree{root: root, before: func(string, string) error { return nil }}, nil
}

// OnChange sets what is called before each change to the disk. Its error is returned in
// place of the change.
func (t *Tree) OnChange(before func(change, name string) error) { t.before = before }

// Close closes the tree.
func (t *Tree) Close() error { return t.root.Close() }

// Resolve follows the symbolic links of a name. The last element may be missing, which
// exists tells; actual is then where it would be.
func (t *Tree) Resolve(name string) (actual string, exists bool, err error) {
	rest, done, links := elements(name), "/", 0
	for len(rest) > 0 {
		element := rest[0]
		rest = rest[1:]
		if element == ".." {
			done = path.Dir(done)
			continue
		}
		next := path.Join(done, element)
		info, err := t.root.Lstat(local(next))
		switch {
		case errors.Is(err, fs.ErrNotExist) && len(rest) == 0:
			return next, false, nil
		case err != nil:
			return "", false, named(err, name)
		case info.Mode()&fs.ModeSymlink != 0:
			if links++; links > linksMax {
				return "", false, &fs.PathError{Op: "open", Path: name, Err: unix.ELOOP}
			}
			target, err := t.root.Readlink(local(next))
			if err != nil {
				return "", false, named(err, name)
			}
			if path.IsAbs(target) {
				done = "/"
			}
			rest = slices.Concat(elements(target), rest)
		case len(rest) > 0 && !info.IsDir():
			return "", false, &fs.PathError{Op: "open", Path: name, Err: unix.ENOTDIR}
		default:
			done = next
		}
	}
	return done, true, nil
}

// elements splits a name; links may hold "..", which is up to Resolve.
func elements(name string) []string {
	return slices.DeleteFunc(strings.Split(name, "/"), func(e string) bool { return e == "" || e == "." })
}

// local is a name without links as the root wants it.
func local(name string) string {
	if rest := strings.TrimPrefix(path.Clean(name), "/"); rest != "" {
		return rest
	}
	return "."
}

// named puts what was asked for into the error of a file: open rather than openat, and the
// name on the machine.
func named(err error, name string) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return &fs.PathError{Op: strings.TrimSuffix(e.Op, "at"), Path: name, Err: e.Err}
	}
	return err
}

// Exists reports whether there is anything of that name. A link to nothing is nothing.
func (t *Tree) Exists(name string) (bool, error) {
	_, exists, err := t.Resolve(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return false, nil
	}
	return exists, err
}

// ReadFile reads a regular file of at most limit bytes. It fails with fs.ErrNotExist,
// ErrTooLarge or ErrNotRegular, and does not wait for whoever writes to a pipe.
func (t *Tree) ReadFile(name string, limit int64) (_ []byte, err error) {
	actual, _, err := t.Resolve(name)
	if err != nil {
		return nil, err
	}
	f, err := t.root.OpenFile(local(actual), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, named(err, name)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, named(err, name)
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: name, Err: ErrNotRegular}
	}
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, named(err, name)
	}
	if int64(len(content)) > limit {
		return nil, &fs.PathError{Op: "read", Path: name, Err: ErrTooLarge}
	}
	return content, nil
}

// ReadDir lists the names in a folder, sorted.
func (t *Tree) ReadDir(name string) (_ []string, err error) {
	actual, _, err := t.Resolve(name)
	if err != nil {
		return nil, err
	}
	f, err := t.root.OpenFile(local(actual), os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, named(err, name)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	names, err := f.Readdirnames(entriesMax + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, named(err, name)
	}
	if len(names) > entriesMax {
		return nil, fmt.Errorf("%s: it holds more than %d entries", name, entriesMax)
	}
	slices.Sort(names)
	return names, nil
}

// IsDir reports whether a name is that of a folder, be it through links.
func (t *Tree) IsDir(name string) bool {
	actual, exists, err := t.Resolve(name)
	if err != nil || !exists {
		return false
	}
	info, err := t.root.Lstat(local(actual))
	return err == nil && info.IsDir()
}

// Glob lists the names that match a pattern of path.Match, sorted by folder. Folders that
// cannot be read match nothing.
func (t *Tree) Glob(pattern string) ([]string, error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, err
	}
	return t.glob(pattern)
}

func (t *Tree) glob(pattern string) ([]string, error) {
	if !strings.ContainsAny(pattern, `*?[\`) {
		if exists, err := t.Exists(pattern); err != nil || !exists {
			return nil, nil //nolint:nilerr // as filepath.Glob: what cannot be read matches nothing
		}
		return []string{pattern}, nil
	}
	folder, last := path.Split(pattern)
	folders, err := t.glob(path.Clean(folder))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, f := range folders {
		entries, err := t.ReadDir(f)
		if err != nil {
			continue
		}
		for _, entry := range entries {
			if matched, err := path.Match(last, entry); err == nil && matched {
				names = append(names, path.Join(f, entry))
			}
		}
		if len(names) > entriesMax {
			return nil, fmt.Errorf("more than %d files match", entriesMax)
		}
	}
	return names, nil
}
