package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/store"
	"github.com/shoal-project/shoal/pkg/upstream"
	"github.com/shoal-project/shoal/scheduler"
)

// forget returns what drops an idle entry at once.
func (n *testNode) forget(d *download) func(context.Context) {
	return func(context.Context) {
		if n.retire(d, d.leaveIdle) {
			n.soon(scheduler.BlobLost{Blob: d.digest})
		}
	}
}

// small puts blobs into the store that nobody has open.
func small(t *testing.T, st *store.Store, count int) []blob.Digest {
	t.Helper()
	digests := make([]blob.Digest, count)
	for i := range count {
		content := fmt.Appendf(nil, "blob %04d", i)
		digests[i] = sha256.Sum256(content)
		if err := st.PutBytes(digests[i], content); err != nil {
			t.Fatal(err)
		}
	}
	return digests
}

// However many blobs peers ask about, only so many are open.
func TestPeersCannotOpenEverything(t *testing.T) {
	const most, count, size = 8, 40, 9
	n := newFabric().nodeWith(t, "a", upstreamOf(), store.Config{Dir: t.TempDir()}, func(c *Config) { c.MaxHeld = most })
	digests := small(t, n.store, count)
	var joined []blob.Digest
	refused := 0
	for _, d := range digests {
		switch err := n.Accept(t.Context(), "b", d, size); {
		case err == nil:
			n.Joined("b", d)
			joined = append(joined, d)
		case errors.Is(err, ErrCrowded):
			refused++
		default:
			t.Fatal(err)
		}
		if held := len(n.entries()); held > most {
			t.Fatalf("%d blobs are open", held)
		}
	}
	if len(joined) != most || refused != count-most {
		t.Errorf("%d sessions, %d refused", len(joined), refused)
	}
	for _, d := range joined {
		n.Left("b", d, nil)
	}
	// Without sessions they make room for others.
	until(t, n.Engine, "room", func() bool { return n.Accept(t.Context(), "b", digests[count-1], size) == nil })
}

// Sessions outlive the entry that they were opened about.
func TestSessionsAreCountedWhereTheyBegan(t *testing.T) {
	content, want := makeBlob(1 << 20)
	n := newFabric().node(t, "a", upstreamOf(content), t.TempDir())
	if _, err := fetch(deadline(t), n.Engine, want); err != nil {
		t.Fatal(err)
	}
	old := n.find(want.Blob)
	n.Joined("b", want.Blob)
	if _, idle := old.idleSince(); idle {
		t.Error("idle with a session")
	}
	until(t, n.Engine, "the entry lost", func() bool {
		n.lose(old, errors.New("as if the disk had failed")) // which is nothing to an entry that does not seed yet
		return n.find(want.Blob) == nil
	})
	if _, err := fetch(deadline(t), n.Engine, want); err != nil {
		t.Fatal(err)
	}
	n.Left("b", want.Blob, nil)
	renewed := n.find(want.Blob)
	renewed.mu.Lock()
	defer renewed.mu.Unlock()
	if renewed == old || renewed.sessions != 0 {
		t.Errorf("%d sessions", renewed.sessions)
	}
}

// Clients open and leave while downloads are given up and blobs forgotten beneath them:
// each gets the content or an error, nobody is counted for ever.
func TestClientsComeAndGo(t *testing.T) {
	content, want := makeBlob(1<<20 + 3)
	up := upstreamOf(content)
	up.disturb = func(n int64, body []byte) ([]byte, error) {
		if n%3 != 0 {
			return nil, upstream.ErrNotFound
		}
		return body, nil
	}
	n := newFabric().nodeWith(t, "a", up, store.Config{Dir: t.TempDir()}, func(c *Config) { c.IdleAfter = time.Millisecond })
	var wg sync.WaitGroup
	var whole atomic.Int64
	for range 4 {
		wg.Go(func() {
			for range 30 {
				got, err := fetch(deadline(t), n.Engine, want)
				abandoned, ok := errors.AsType[*AbandonedError](err)
				switch {
				case err == nil && bytes.Equal(got, content):
					whole.Add(1)
				case ok && abandoned.Why == scheduler.FaultGone:
				case errors.Is(err, store.ErrClosed), errors.Is(err, errNoBytes): // given up under the reader
				default:
					t.Errorf("%d bytes, %v", len(got), err)
				}
				n.Start(want)
				if err := n.store.Delete(want.Blob); err != nil && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrLive) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if whole.Load() == 0 {
		t.Error("nobody got anything")
	}
	until(t, n.Engine, "everything forgotten", func() bool {
		n.Start(Want{}) // gives the loop something else to look at
		views, err := n.Downloads(deadline(t))
		return err == nil && len(views) <= 1
	})
	err := n.look(deadline(t), func(m *scheduler.Machine) {
		for _, v := range m.Blobs() {
			if v.Clients != 0 {
				t.Errorf("%d clients are still counted", v.Clients)
			}
		}
	})
	if err != nil {
		t.Error(err)
	}
}

// A blob that was put into the store while its download began is served from there.
func TestProvenMeanwhile(t *testing.T) {
	n := newFabric().node(t, "a", upstreamOf(), t.TempDir())
	content := []byte("put by somebody else")
	want := Want{Blob: sha256.Sum256(content), Size: blob.ByteCount(len(content))}
	d, err := n.begin(want) // nothing in the store yet
	if err != nil {
		t.Fatal(err)
	}
	other := newDownload(want.Blob, d.geometry, want.Image, time.Now())
	until(t, n.Engine, "an end", func() bool { return d.ended() })
	if err := n.store.PutBytes(want.Blob, content); err != nil {
		t.Fatal(err)
	}
	n.awaitClosed(want.Blob)
	n.open(other)
	if got, err := other.file(); err != nil {
		t.Error(err)
	} else {
		_ = got.Close()
	}
	n.close(other)
}

func (d *download) ended() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err != nil
}

// What a manifest says about a size is not held against the peer who knows better.
func TestWrongSizeInAManifestBlamesNoPeer(t *testing.T) {
	e, d, _ := idleEngine(t)
	if err := e.Accept(t.Context(), "honest", d.digest, d.geometry.Size()+1); !errors.Is(err, ErrUnknownBlob) {
		t.Errorf("Accept = %v", err)
	}
	if len(e.inbox) > 0 {
		t.Errorf("reported %v", next(t, e))
	}
}

// An engine that never ran can be stopped, however much it was told.
func TestStopWithoutRun(t *testing.T) {
	st, err := store.Open(store.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	e := New(Config{Store: st, Upstream: upstreamOf(), Log: discard()})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range inboxSize {
				e.Joined(peer.ID(fmt.Sprint(i)), blob.Digest{})
			}
		})
	}
	_, want := makeBlob(100)
	e.Start(want)
	e.Stop()
	wg.Wait()
	e.Close()
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}
