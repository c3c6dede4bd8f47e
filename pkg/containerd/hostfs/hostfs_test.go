package hostfs_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shoal-project/shoal/pkg/containerd/hostfs"
)

// newTree makes a tree of files; a text that begins with "-> " is a link, a name that ends
// in a slash a folder.
func newTree(t *testing.T, files map[string]string) (*hostfs.Tree, string) {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		target, isLink := strings.CutPrefix(text, "-> ")
		switch {
		case err != nil:
		case isLink:
			err = os.Symlink(target, path)
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o755)
		default:
			err = os.WriteFile(path, []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	tree, err := hostfs.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	})
	return tree, root
}

func TestResolve(t *testing.T) {
	tree, _ := newTree(t, map[string]string{
		"/a/b/file": "x", "/absolute": "-> /a/b", "/relative": "-> a/./b/../b", "/a/up": "-> ../../../../../a/b/file",
		"/loop": "-> loop", "/two": "-> absolute/file", "/dangling": "-> /a/none", "/lost": "-> /none/none", "/outside": "-> /../../../etc",
	})
	for name, want := range map[string]string{
		"/": "/", "/a/b/file": "/a/b/file", "/absolute/file": "/a/b/file", "/relative/file": "/a/b/file", "/a/up": "/a/b/file", "/two": "/a/b/file",
		"//a//b/": "/a/b", "/../a": "/a", "/a/new": "- /a/new", "/dangling": "- /a/none", "/absolute/new": "- /a/b/new", "/outside": "- /etc",
	} {
		actual, exists, err := tree.Resolve(name)
		if !exists {
			actual = "- " + actual
		}
		if err != nil || actual != want {
			t.Errorf("%s: %s, %v, want %s", name, actual, err, want)
		}
	}
	for name, want := range map[string]error{
		"/loop": unix.ELOOP, "/loop/x": unix.ELOOP, "/none/x": fs.ErrNotExist, "/lost": fs.ErrNotExist, "/a/b/file/x": unix.ENOTDIR,
		"/x\x00y": unix.EINVAL, "/" + strings.Repeat("n", 300): unix.ENAMETOOLONG,
	} {
		if actual, _, err := tree.Resolve(name); !errors.Is(err, want) {
			t.Errorf("%.20q: %s, %v, want %v", name, actual, err, want)
		}
	}
	for name, want := range map[string]bool{"/a": true, "/a/b/file/x": false, "/none/x": false, "/dangling": false, "/two": true} {
		if exists, err := tree.Exists(name); err != nil || exists != want {
			t.Errorf("%s exists: %v, %v", name, exists, err)
		}
	}
}

func TestReadIsBounded(t *testing.T) {
	tree, root := newTree(t, map[string]string{"/five": "12345", "/folder/": "", "/link": "-> five"})
	if err := unix.Mkfifo(filepath.Join(root, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/five", "/link"} {
		if content, err := tree.ReadFile(name, 5); err != nil || string(content) != "12345" {
			t.Errorf("%s: %q, %v", name, content, err)
		}
	}
	for name, want := range map[string]error{"/folder": hostfs.ErrNotRegular, "/pipe": hostfs.ErrNotRegular, "/none": fs.ErrNotExist, "/five": hostfs.ErrTooLarge} {
		_, err := tree.ReadFile(name, 4)
		if !errors.Is(err, want) || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), root) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	if _, err := tree.ReadDir("/five"); !errors.Is(err, unix.ENOTDIR) {
		t.Error(err)
	}
	for i := range 4097 {
		if err := os.Symlink("x", filepath.Join(root, "folder", strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tree.ReadDir("/folder"); err == nil || !strings.Contains(err.Error(), "more than 4096") {
		t.Error(err)
	}
}

func TestGlob(t *testing.T) {
	tree, _ := newTree(t, map[string]string{
		"/etc/d/2.toml": "", "/etc/d/1.toml": "", "/etc/d/x.conf": "", "/etc/e/3.toml": "", "/link": "-> /etc/d", "/etc/gone.toml": "-> none",
	})
	for pattern, want := range map[string][]string{
		"/etc/d/*.toml": {"/etc/d/1.toml", "/etc/d/2.toml"}, "/etc/*/*.toml": {"/etc/d/1.toml", "/etc/d/2.toml", "/etc/e/3.toml"},
		"/link/*.toml": {"/link/1.toml", "/link/2.toml"}, "/none/*": nil, "/etc/d/1.toml": {"/etc/d/1.toml"}, "/etc/d/1.toml/*": nil,
	} {
		if got, err := tree.Glob(pattern); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v", pattern, got, err)
		}
	}
	if _, err := tree.Glob("/etc/[*"); err == nil {
		t.Error("a bad pattern is accepted")
	}
}

func TestReplace(t *testing.T) {
	tree, root := newTree(t, map[string]string{"/d/old": "old", "/link": "-> /d/old", "/d/" + ".shoal-tmp": "a leftover", "/folder/": ""})
	old := filepath.Join(root, "d/old")
	if err := os.Chmod(old, 0o640); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(old, 12, 34); err != nil {
			t.Fatal(err)
		}
	}
	if err := tree.Replace("/link", []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(old)
	if err != nil || info.Mode() != 0o640 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if s, ok := info.Sys().(*syscall.Stat_t); os.Geteuid() == 0 && (!ok || s.Uid != 12 || s.Gid != 34) {
		t.Errorf("the owner changed: %+v", s)
	}
	content, err := os.ReadFile(old)
	if err != nil || string(content) != "new" {
		t.Errorf("%q, %v", content, err)
	}
	if err := tree.Replace("/d/fresh", []byte("x"), 0o604); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(root, "d/fresh")); err != nil || info.Mode() != 0o604 {
		t.Errorf("%v, %v", info, err)
	}
	if names, err := tree.ReadDir("/d"); err != nil || !slices.Equal(names, []string{"fresh", "old"}) {
		t.Errorf("%q, %v", names, err)
	}
	if err := tree.Replace("/folder", nil, 0o600); !errors.Is(err, hostfs.ErrNotRegular) {
		t.Error(err)
	}
	if err := tree.Replace("/none/x", nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestFolders(t *testing.T) {
	tree, root := newTree(t, map[string]string{"/d/": "", "/d/.shoal-tmp/left": "a leftover", "/d/full/x": "", "/d/full/y": ""})
	if err := tree.MakeFolder("/d/new", "x", []byte("1")); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(filepath.Join(root, "d/new/x")); err != nil || string(content) != "1" {
		t.Errorf("%q, %v", content, err)
	}
	if err := tree.MakeFolder("/d/full", "x", nil); !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if err := tree.RemoveFolder("/d/full", "x"); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if err := errors.Join(tree.RemoveFolder("/d/new", "x"), tree.RemoveFolder("/d/none", "x"), tree.RemoveFile("/d/none"), tree.RemoveEmpty("/d"), tree.Sweep("/d")); err != nil {
		t.Error(err)
	}
	if names, err := tree.ReadDir("/d"); err != nil || !slices.Equal(names, []string{"full"}) {
		t.Errorf("%q, %v", names, err)
	}
	made, err := tree.MakeAll("/p/q/r")
	again, errAgain := tree.MakeAll("/p/q/r")
	if !made || again || err != nil || errAgain != nil || !tree.IsDir("/p/q/r") {
		t.Errorf("%v, %v, %v, %v", made, err, again, errAgain)
	}
	if _, err := tree.MakeAll("/d/full/x/y"); !errors.Is(err, unix.ENOTDIR) {
		t.Error(err)
	}
}

// The second waits for the first, and no longer than it is let.
func TestLock(t *testing.T) {
	tree, root := newTree(t, map[string]string{"/d/": ""})
	first, err := tree.Lock(t.Context(), "/d")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tree.Lock(ctx, "/d"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	got := make(chan error)
	go func() {
		second, err := tree.Lock(t.Context(), "/d")
		if err == nil {
			err = second.Close()
		}
		got <- err
	}()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
	if _, err := tree.Lock(t.Context(), "/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	last, err := tree.Lock(t.Context(), "/d")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := tree.Lock(t.Context(), "/d")
		got <- err
	}()
	for openTimes(t, filepath.Join(root, "d")) < 2 { // the other waits once it has it open, too
		runtime.Gosched()
	}
	if err := errors.Join(tree.RemoveEmpty("/d"), last.Close()); err != nil {
		t.Fatal(err)
	}
	if err := <-got; !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// openTimes counts how often this process has a folder open.
func openTimes(t *testing.T, folder string) (count int) {
	t.Helper()
	descriptors, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range descriptors {
		if target, err := os.Readlink(d); err == nil && target == folder {
			count++
		}
	}
	return count
}

// onThread runs f on a thread of its own, which ends with it: for what a thread cannot
// take back.
func onThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread goes
		f()
	}()
	<-done
}

// withDisk calls do, seen by nobody else, while an empty disk is mounted on a folder. It does
// not where there is no namespace for that.
func withDisk(t *testing.T, folder string, flags uintptr, do func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root mounts")
	}
	onThread(func() {
		err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.Mount("tmpfs", folder, "tmpfs", flags, "size=1m")
		}
		if err != nil {
			t.Logf("no mount namespace here: %v", err)
			return
		}
		do()
	})
}

func TestReadOnlyDisk(t *testing.T) {
	root := t.TempDir()
	withDisk(t, root, unix.MS_RDONLY, func() {
		tree, err := hostfs.Open(root)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = tree.Close() }()
		_, err = tree.MakeAll("/d")
		for _, err := range []error{err, tree.Replace("/x", []byte("x"), 0o600), tree.MakeFolder("/y", "x", nil)} {
			if !errors.Is(err, unix.EROFS) {
				t.Error(err)
			}
		}
		lock, err := tree.Lock(t.Context(), "/") // who only looks may lock
		if err != nil {
			t.Error(err)
			return
		}
		if err := errors.Join(lock.Close(), tree.Sweep("/")); err != nil {
			t.Error(err)
		}
	})
}

// A folder on which a disk is mounted is not empty, whatever is on the disk.
func TestMountedDiskStays(t *testing.T) {
	tree, root := newTree(t, map[string]string{"/disk/": ""})
	withDisk(t, filepath.Join(root, "disk"), 0, func() {
		if err := tree.RemoveEmpty("/disk"); err != nil || !tree.IsDir("/disk") {
			t.Errorf("removed: %v", err)
		}
	})
}

func TestMissingPermission(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root becomes another user")
	}
	tree, root := newTree(t, map[string]string{"/d/secret": "x", "/closed/x": ""})
	if err := errors.Join(os.Chmod(filepath.Join(root, "d"), 0o755), os.Chmod(filepath.Join(root, "closed"), 0o700)); err != nil {
		t.Fatal(err)
	}
	for dir := root; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	onThread(func() {
		if err := unix.Setfsuid(65534); err != nil {
			t.Error(err)
			return
		}
		_, readErr := tree.ReadFile("/d/secret", 10)
		_, _, resolveErr := tree.Resolve("/closed/x")
		_, existsErr := tree.Exists("/closed/x")
		for _, err := range []error{readErr, resolveErr, existsErr, tree.Replace("/d/secret", nil, 0o600), tree.Replace("/d/new", nil, 0o600), tree.RemoveFile("/d/secret")} {
			if !errors.Is(err, fs.ErrPermission) {
				t.Error(err)
			}
		}
	})
	if content, err := os.ReadFile(filepath.Join(root, "d/secret")); err != nil || !bytes.Equal(content, []byte("x")) {
		t.Errorf("%q, %v", content, err)
	}
}
