package content

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/shoal-project/shoal/pkg/blob"
)

// An identity is a file as the file system knows it. The file is the same as long as all of it
// is: whoever writes to it cannot help changing the last field. The device is left out: disks
// may be numbered differently after a restart of the machine.
type identity struct {
	inode, size       int64
	modified, changed int64 // nanoseconds since 1970
}

func identify(f *os.File) (id identity, links uint64, err error) {
	info, err := f.Stat()
	if err != nil {
		return identity{}, 0, err
	}
	id, links, ok := identityOf(info)
	if !ok {
		return identity{}, 0, fmt.Errorf("%s is no regular file", f.Name())
	}
	return id, links, nil
}

func identityOf(info fs.FileInfo) (id identity, links uint64, ok bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return identity{}, 0, false
	}
	return identity{
		inode: int64(st.Ino), size: st.Size,
		modified: st.Mtim.Nano(), changed: st.Ctim.Nano(),
	}, uint64(st.Nlink), true //nolint:unconvert // it has 32 bits on arm64
}

// still reports whether an open file is the one that was proven. To lose its name changes a
// file, too, and says nothing about its bytes.
func (id identity) still(now identity, links uint64) bool {
	if links == 0 {
		now.changed = id.changed
	}
	return id == now
}

func (c *Content) path(d blob.Digest) string {
	return filepath.Join(c.cfg.Dir, "blobs", "sha256", d.Hex())
}

// openFile opens the file of a blob. What is no regular file is not opened, nor is a link
// followed.
func (c *Content) openFile(d blob.Digest) (*os.File, identity, error) {
	f, err := os.OpenFile(c.path(d), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, identity{}, err
	}
	id, _, err := identify(f)
	if err != nil {
		return nil, identity{}, errors.Join(err, f.Close())
	}
	return f, id, nil
}

// reopen opens an open file once more, with an offset of its own, whether or not it still has
// a name.
func reopen(f *os.File) (*os.File, error) {
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var again *os.File
	var openErr error
	err = conn.Control(func(fd uintptr) {
		again, openErr = os.Open("/proc/self/fd/" + strconv.FormatUint(uint64(fd), 10))
	})
	if err = errors.Join(err, openErr); err != nil {
		return nil, err
	}
	return again, nil
}
