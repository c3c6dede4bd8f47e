package engine

import (
	"bytes"
	"errors"
	"sync"
	"syscall"
	"testing"

	"github.com/shoal-project/shoal/pkg/store"
	"github.com/shoal-project/shoal/pkg/upstream"
	"github.com/shoal-project/shoal/scheduler"
)

func diskNode(t *testing.T, f *fabric, name string, up Upstream, disk *faultFS, news *diskNews) *testNode {
	t.Helper()
	return f.nodeWith(t, name, up, store.Config{Dir: t.TempDir(), FS: disk}, func(c *Config) { c.OnDisk = news.tell })
}

// abandonedFor fetches and expects the download to end for the reason.
func abandonedFor(t *testing.T, n *testNode, want Want, why scheduler.Fault) *AbandonedError {
	t.Helper()
	_, err := fetch(deadline(t), n.Engine, want)
	abandoned, ok := errors.AsType[*AbandonedError](err)
	if !ok || abandoned.Why != why {
		t.Fatalf("err = %v, want a download abandoned for %s", err, why)
	}
	return abandoned
}

// Whoever waits for a blob from an earlier life must get headers meanwhile.
func TestOpeningAPartialFileKeepsNobodyWaiting(t *testing.T) {
	content, want := makeBlob(1 << 20)
	var gate sync.WaitGroup
	gate.Add(1)
	disk := &faultFS{onOpen: func(name string) {
		if isPartial(name) {
			gate.Wait()
		}
	}}
	n := diskNode(t, newFabric(), "a", upstreamOf(content), disk, &diskNews{})
	n.Start(want)
	body, err := n.Open(want)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Accept(t.Context(), "b", want.Blob, want.Size); !errors.Is(err, ErrUnknownBlob) {
		t.Errorf("Accept while the file is opened = %v", err)
	}
	views, err := n.Downloads(deadline(t))
	if err != nil || len(views) != 1 || views[0].Have != 0 {
		t.Errorf("Downloads = %+v, %v", views, err)
	}
	gate.Done()
	if _, proven, err := body.Available(deadline(t), want.Size); err != nil || !proven {
		t.Errorf("Available = %v, %v", proven, err)
	}
	_ = body.Close()
}

func TestFullDiskAtTheStartIsNotTheRegistrysNo(t *testing.T) {
	content, want := makeBlob(1 << 20)
	disk, news := &faultFS{}, &diskNews{}
	n := diskNode(t, newFabric(), "a", upstreamOf(content), disk, news)
	disk.mu.Lock()
	disk.noSpace = true
	disk.mu.Unlock()
	err := abandonedFor(t, n, want, scheduler.FaultDisk)
	if !errors.Is(err, store.ErrDiskFull) || err.Upstream != nil || !errors.Is(news.last(), store.ErrDiskFull) {
		t.Errorf("err = %v, told %v", err, news.last())
	}
	disk.mu.Lock()
	disk.noSpace = false
	disk.mu.Unlock()
	if got, err := fetch(deadline(t), n.Engine, want); err != nil || !bytes.Equal(got, content) {
		t.Errorf("with room again: %d bytes, %v", len(got), err)
	}
}

// The registry failed once, and then the disk did: the client may still be served past
// the store, which a registry's no would forbid.
func TestFullDiskInMidDownloadIsNotTheRegistrysNo(t *testing.T) {
	content, want := makeBlob(4 << 20)
	disk, news := &faultFS{only: "data"}, &diskNews{}
	up := upstreamOf(content)
	up.disturb = func(n int64, body []byte) ([]byte, error) {
		if n == 1 {
			return nil, upstream.ErrUnreachable
		}
		disk.set("write", syscall.ENOSPC)
		return body, nil
	}
	n := diskNode(t, newFabric(), "a", up, disk, news)
	err := abandonedFor(t, n, want, scheduler.FaultDisk)
	if !errors.Is(err, store.ErrDiskFull) || errors.Is(err, upstream.ErrUnreachable) || news.last() == nil {
		t.Errorf("err = %v, told %v", err, news.last())
	}
}

func TestFullDiskIsNotThePeersFault(t *testing.T) {
	content, want := makeBlob(8 << 20)
	up := upstreamOf(content)
	f := newFabric()
	a := f.node(t, "a", up, t.TempDir())
	if _, err := fetch(deadline(t), a.Engine, want); err != nil {
		t.Fatal(err)
	}
	disk, news := &faultFS{only: "data"}, &diskNews{}
	disk.set("write", syscall.ENOSPC)
	b := diskNode(t, f, "b", up, disk, news)
	err := abandonedFor(t, b, want, scheduler.FaultDisk)
	if !errors.Is(err, store.ErrDiskFull) {
		t.Errorf("err = %v", err)
	}
	list, listErr := b.Quarantined(deadline(t))
	if len(list) > 0 || listErr != nil || b.Failures("a") != 0 {
		t.Errorf("quarantined %v, %v; failures %d", list, listErr, b.Failures("a"))
	}
}

// What cannot be put into its place is served all the same, to clients and to peers.
func TestBlobThatCannotBeKeptIsServed(t *testing.T) {
	content, want := makeBlob(4 << 20)
	up := upstreamOf(content)
	f := newFabric()
	disk, news := &faultFS{}, &diskNews{}
	disk.set("rename", syscall.EIO)
	a := diskNode(t, f, "a", up, disk, news)
	if got, err := fetch(deadline(t), a.Engine, want); err != nil || !bytes.Equal(got, content) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	until(t, a.Engine, "news of the disk", func() bool { return news.last() != nil })
	up.down.Store(true)
	b := f.node(t, "b", up, t.TempDir())
	if got, err := fetch(deadline(t), b.Engine, want); err != nil || !bytes.Equal(got, content) {
		t.Errorf("from the peer: %d bytes, %v", len(got), err)
	}
}

// A chunk that cannot be read back is fetched again, but not for ever.
func TestUnreadableDiskEndsTheDownload(t *testing.T) {
	content, want := makeBlob(16 << 20)
	up := upstreamOf(content)
	disk, news := &faultFS{only: "data"}, &diskNews{}
	disk.set("read", syscall.EIO)
	n := diskNode(t, newFabric(), "a", up, disk, news)
	body, err := n.Open(want)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = body.Close() }()
	_, _, err = body.Available(deadline(t), want.Size)
	abandoned, ok := errors.AsType[*AbandonedError](err)
	if !ok || abandoned.Why != scheduler.FaultDisk {
		t.Errorf("err = %v", err)
	}
	if sent := up.sent.Load(); sent > 3*int64(len(content)) {
		t.Errorf("%d bytes were read for a blob of %d", sent, len(content))
	}
}

func TestDamagedProvenBlobIsLost(t *testing.T) {
	content, want := makeBlob(1 << 20)
	disk, news := &faultFS{only: "blobs"}, &diskNews{}
	n := diskNode(t, newFabric(), "a", upstreamOf(content), disk, news)
	if _, err := fetch(deadline(t), n.Engine, want); err != nil {
		t.Fatal(err)
	}
	d := n.find(want.Blob)
	until(t, n.Engine, "the blob in its place", func() bool { _, proven := d.files(); return proven != nil })
	// Another entry, of a file whose name is the proven blob's.
	n.inLoop(n.forget(d))
	until(t, n.Engine, "the entry forgotten", func() bool { return n.find(want.Blob) == nil })
	body, err := n.Open(want)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = body.Close() }()
	disk.set("read", syscall.EIO)
	if _, err := body.ReadAt(make([]byte, 1), 0); err == nil {
		t.Fatal("read from a broken disk")
	}
	until(t, n.Engine, "the entry lost", func() bool { return n.find(want.Blob) == nil })
	if _, _, err := body.Available(deadline(t), 0); !errors.Is(err, syscall.EIO) {
		t.Errorf("Available = %v", err)
	}
	if news.last() == nil {
		t.Error("nobody was told")
	}
}
