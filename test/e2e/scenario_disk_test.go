package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// dedupeWait is how long containerd has to have kept a layer before the store's copy goes, and
// then some.
const dedupeWait = time.Minute + 2*patience

// What an image costs on disk in Shoal's folder and in containerd's, by setting. The table in
// docs/benchmarks.md is this test's.
func TestDiskUse(t *testing.T) {
	lab := NewLab(t)
	image := lab.Registry.Push("app", 48*MiB, 16*MiB)
	size := image.Size()
	off, auto, discarding := lab.AddNode(NoMirror), lab.AddNode(NoMirror), lab.AddDiscardingNode(NoMirror)
	trifle := lab.Registry.PushPlain("trifle", 1<<10) // so that there is content to follow
	for _, n := range []*Node{off, auto, discarding} {
		n.MustPull(trifle.Tagged)
		n.SetMirror(MirrorOnly)
	}
	off.StartShoal(append(off.BesideContainerd(fullSpeed), "--store-dedupe", "off")...)
	auto.StartShoal(auto.BesideContainerd(fullSpeed)...)
	discarding.StartShoal(discarding.BesideContainerd(fullSpeed)...)
	AwaitMembers(off, auto, discarding)
	for _, n := range []*Node{off, auto, discarding} {
		n.MustPull(image.Tagged)
	}

	Eventually(t, dedupeWait, "the store to drop what containerd keeps", func() error {
		s, err := auto.Daemon().Status()
		if err == nil && s.Store.Blobs > 0 {
			err = fmt.Errorf("it has %d blobs", s.Store.Blobs)
		}
		return err
	})
	off.Daemon().offers(blobsOf(trifle) + blobsOf(image))
	for _, c := range []struct {
		name               string
		node               *Node
		shoal, containerds int64 // in images
	}{
		{"off", off, 1, 1},
		{"auto", auto, 0, 1},
		{"auto, discard_unpacked_layers", discarding, 1, 0},
	} {
		shoal, containerds := diskUse(t, filepath.Join(c.node.dir, "shoal")), diskUse(t, c.node.contentFolder())
		t.Logf("store-dedupe %s: image %.1f MiB, Shoal %.1f MiB, containerd's content %.1f MiB", c.name, mib(size), mib(shoal), mib(containerds))
		const slack = MiB
		if shoal < c.shoal*size || shoal > c.shoal*size+slack || containerds < c.containerds*size || containerds > c.containerds*size+slack {
			t.Errorf("store-dedupe %s: Shoal has %d bytes and containerd %d, want %d and %d images of %d", c.name, shoal, containerds, c.shoal, c.containerds, size)
		}
	}

	// However it is kept, it is still there for the next node.
	next := lab.AddNode(MirrorOnly)
	for _, n := range []*Node{off, discarding} {
		if err := n.Daemon().Stop(); err != nil {
			t.Fatal(err)
		}
	}
	next.StartShoal()
	AwaitMembers(auto, next)
	next.MustPull(image.Tagged)
	next.Check(image.Tagged, image)
	wantRead(t, lab, image, 0, 0.05, next)
}

// diskUse is how many bytes the files in a folder take on the disk.
func diskUse(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it went meanwhile
		}
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			bytes += st.Blocks * 512
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

func mib(bytes int64) float64 { return float64(bytes) / MiB }
