package engine

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/store"
	"github.com/shoal-project/shoal/pkg/upstream"
	"github.com/shoal-project/shoal/scheduler"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func upstreamOf(contents ...[]byte) *testUpstream {
	u := &testUpstream{content: map[blob.Digest][]byte{}}
	for _, c := range contents {
		u.content[sha256.Sum256(c)] = c
	}
	return u
}

func TestAloneReadsEachByteOnce(t *testing.T) {
	for _, size := range []int{0, 1, 64, int(blob.MinChunk), int(blob.MinChunk) + 1, 5<<20 + 17} {
		content, want := makeBlob(size)
		up := upstreamOf(content)
		n := newFabric().node(t, "a", up, t.TempDir())
		got, err := fetch(deadline(t), n.Engine, want)
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("size %d: %d bytes, %v", size, len(got), err)
		}
		if up.sent.Load() != int64(size) || up.reads.Load() > 1 {
			t.Errorf("size %d: upstream sent %d in %d reads", size, up.sent.Load(), up.reads.Load())
		}
		again, err := fetch(deadline(t), n.Engine, want)
		if err != nil || !bytes.Equal(again, content) || up.sent.Load() != int64(size) {
			t.Errorf("size %d: the second client cost %d bytes, %v", size, up.sent.Load()-int64(size), err)
		}
		n.stop()
	}
}

// Bytes that this node reads go out as they come: nobody waits for the proof of the whole.
func TestAloneStreams(t *testing.T) {
	content, want := makeBlob(4 << 20)
	up := upstreamOf(content)
	broken := errors.New("stops here")
	stop := make(chan struct{})
	up.disturb = func(n int64, body []byte) ([]byte, error) {
		if n == 1 {
			return body[:1<<20], broken
		}
		<-stop
		return body, nil
	}
	n := newFabric().node(t, "a", up, t.TempDir())
	body, err := n.Open(want)
	if err != nil {
		t.Fatal(err)
	}
	got, proven, err := body.Available(deadline(t), 0)
	if err != nil || got == 0 || proven {
		t.Errorf("Available = %d, %v, %v: want bytes before the proof", got, proven, err)
	}
	close(stop)
	if _, _, err := body.Available(deadline(t), want.Size); err != nil {
		t.Errorf("the rest did not come: %v", err)
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
}

func TestCrowdSharesOneCopy(t *testing.T) {
	content, want := makeBlob(32<<20 + 5)
	up := upstreamOf(content)
	f := newFabric()
	names := []string{"a", "b", "c", "d"}
	nodes := make([]*testNode, 0, len(names))
	for _, name := range names {
		nodes = append(nodes, f.node(t, name, up, t.TempDir()))
	}
	ctx := deadline(t)
	var wg sync.WaitGroup
	for _, n := range nodes {
		wg.Go(func() {
			got, err := fetch(ctx, n.Engine, want)
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("%s: %d bytes, %v", n.port.self, len(got), err)
			}
		})
	}
	wg.Wait()
	if ratio := float64(up.sent.Load()) / float64(len(content)); ratio > 2 {
		t.Errorf("four nodes read the registry %.2f times", ratio)
	}
}

func TestSeederIsEnough(t *testing.T) {
	content, want := makeBlob(8 << 20)
	up := upstreamOf(content)
	f := newFabric()
	a := f.node(t, "a", up, t.TempDir())
	if _, err := fetch(deadline(t), a.Engine, want); err != nil {
		t.Fatal(err)
	}
	up.down.Store(true)
	b := f.node(t, "b", up, t.TempDir())
	got, err := fetch(deadline(t), b.Engine, want)
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if up.sent.Load() != int64(len(content)) {
		t.Errorf("the registry sent %d bytes", up.sent.Load())
	}
}

func TestLiarCostsNothingButItself(t *testing.T) {
	content, want := makeBlob(8 << 20)
	g, err := blob.NewGeometry(want.Size)
	if err != nil {
		t.Fatal(err)
	}
	for what, tamper := range map[string]func(i blob.ChunkIndex, p []byte){
		"wrong bytes":              func(_ blob.ChunkIndex, p []byte) { p[len(p)/2] ^= 1 },
		"right bytes, wrong place": func(i blob.ChunkIndex, p []byte) { copy(p, content[g.Offset((i+1)%g.Chunks()):]) },
	} {
		t.Run(what, func(t *testing.T) {
			up := upstreamOf(content)
			f := newFabric()
			a := f.node(t, "a", up, t.TempDir())
			if _, err := fetch(deadline(t), a.Engine, want); err != nil {
				t.Fatal(err)
			}
			f.tamper["a"] = tamper
			var named, audited atomic.Bool
			b := f.nodeWith(t, "b", up, store.Config{Dir: t.TempDir()}, func(c *Config) {
				c.OnQuarantine = func(string) { named.Store(true) }
				c.OnAudit = func() { audited.Store(true) }
			})
			got, err := fetch(deadline(t), b.Engine, want)
			if err != nil || !bytes.Equal(got, content) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			list, err := b.Quarantined(deadline(t))
			if err != nil || len(list) != 1 || list[0].Peer != "a" || !named.Load() || !audited.Load() {
				t.Errorf("quarantined: %v, %v; told: %v, and of an audit: %v", list, err, named.Load(), audited.Load())
			}
		})
	}
}

func TestUpstreamThatMisbehavesIsSurvived(t *testing.T) {
	content, want := makeBlob(4 << 20)
	for name, disturb := range map[string]func(n int64, body []byte) ([]byte, error){
		"drops in mid-body": func(n int64, body []byte) ([]byte, error) {
			if n < 4 {
				return body[:len(body)/2], errors.New("connection reset")
			}
			return body, nil
		},
		"ends early": func(n int64, body []byte) ([]byte, error) {
			if n < 3 {
				return body[:len(body)/3], nil
			}
			return body, nil
		},
		"refuses at first": func(n int64, body []byte) ([]byte, error) {
			if n < 3 {
				return nil, upstream.ErrUnreachable
			}
			return body, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			up := upstreamOf(content)
			up.disturb = disturb
			n := newFabric().node(t, "a", up, t.TempDir())
			got, err := fetch(deadline(t), n.Engine, want)
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

// Whoever was given bytes that turned out wrong gets no more of the blob: with the right rest
// it would be complete, and wrong. What was wrong is not given to the next client.
func TestWrongBytesEndEveryBodyThatHasSome(t *testing.T) {
	content, want := makeBlob(1 << 20)
	up := upstreamOf(content)
	reread := make(chan struct{})
	up.disturb = func(n int64, body []byte) ([]byte, error) {
		if n == 1 {
			bad := bytes.Clone(body)
			bad[10] ^= 1
			return bad, nil
		}
		<-reread // until the first client has some
		return body, nil
	}
	n := newFabric().node(t, "a", up, t.TempDir())
	body, err := n.Open(want)
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := body.Available(deadline(t), 0); err != nil || got == 0 {
		t.Fatalf("Available = %d, %v", got, err)
	}
	close(reread)
	_, _, err = body.Available(deadline(t), want.Size)
	if !errors.Is(err, ErrWrongBytes) {
		t.Errorf("the first client's body ended with %v", err)
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
	if got, err := fetch(deadline(t), n.Engine, want); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the next client got %d bytes, %v", len(got), err)
	}
}

// A registry that serves other bytes under the digest is never believed.
func TestWrongBytesFromUpstreamAreNeverProven(t *testing.T) {
	content, want := makeBlob(1 << 20)
	up := upstreamOf(content)
	up.disturb = func(_ int64, body []byte) ([]byte, error) {
		bad := bytes.Clone(body)
		bad[len(bad)-1] ^= 1
		return bad, nil
	}
	n := newFabric().node(t, "a", up, t.TempDir())
	_, err := fetch(deadline(t), n.Engine, want)
	if !errors.Is(err, ErrWrongBytes) {
		t.Fatalf("err = %v, want ErrWrongBytes", err)
	}
	// It is read once more before it is given up.
	for ctx := deadline(t); ; {
		_, err := fetch(ctx, n.Engine, want)
		if abandoned, ok := errors.AsType[*AbandonedError](err); ok && abandoned.Why == scheduler.FaultMismatch {
			break
		}
		if !errors.Is(err, ErrWrongBytes) {
			t.Fatalf("err = %v, want ErrWrongBytes", err)
		}
	}
	n.awaitClosed(want.Blob)
	if left := n.store.List(); len(left) != 0 {
		t.Errorf("the store holds %+v", left)
	}
}

func TestRegistrysNoReachesTheClient(t *testing.T) {
	_, want := makeBlob(1 << 20)
	n := newFabric().node(t, "a", upstreamOf(), t.TempDir())
	_, err := fetch(deadline(t), n.Engine, want)
	abandoned, ok := errors.AsType[*AbandonedError](err)
	if !ok || abandoned.Why != scheduler.FaultGone || !errors.Is(err, upstream.ErrNotFound) {
		t.Errorf("err = %v", err)
	}
}

func TestClientThatLeavesStopsNobody(t *testing.T) {
	content, want := makeBlob(4 << 20)
	up := upstreamOf(content)
	up.gate = make(chan struct{})
	n := newFabric().node(t, "a", up, t.TempDir())
	first, err := n.Open(want)
	if err != nil {
		t.Fatal(err)
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	if _, _, err := first.Available(gone, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("Available for a client that left: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	close(up.gate)
	got, err := fetch(deadline(t), n.Engine, want)
	if err != nil || !bytes.Equal(got, content) || up.sent.Load() != int64(len(content)) {
		t.Errorf("%d bytes, %v; upstream sent %d", len(got), err, up.sent.Load())
	}
}

func TestRestartResumes(t *testing.T) {
	content, want := makeBlob(8 << 20)
	up := upstreamOf(content)
	half := len(content) / 2
	up.disturb = func(n int64, body []byte) ([]byte, error) {
		if n == 1 {
			return body[:half], errors.New("the node dies here")
		}
		return nil, upstream.ErrUnreachable
	}
	dir := t.TempDir()
	n := newFabric().node(t, "a", up, dir)
	body, err := n.Open(want)
	if err != nil {
		t.Fatal(err)
	}
	for off := blob.ByteCount(0); off < blob.ByteCount(half); {
		got, _, err := body.Available(deadline(t), off)
		if err != nil {
			t.Fatal(err)
		}
		off += got
	}
	_ = body.Close()
	n.stop()
	up.disturb = nil
	up.sent.Store(0)
	n = newFabric().node(t, "a", up, dir)
	got, err := fetch(deadline(t), n.Engine, want)
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if sent := up.sent.Load(); sent > int64(half) {
		t.Errorf("%d bytes read again after the restart, %d were missing", sent, half)
	}
}

func TestStoppingTakesNoNewDownloads(t *testing.T) {
	content, want := makeBlob(1 << 20)
	n := newFabric().node(t, "a", upstreamOf(content), t.TempDir())
	n.Refuse()
	if _, err := n.Open(want); !errors.Is(err, ErrStopping) {
		t.Errorf("Open = %v", err)
	}
	n.Start(want)
	n.stop()
	if _, err := n.Downloads(t.Context()); !errors.Is(err, ErrStopping) {
		t.Errorf("Downloads after the end = %v", err)
	}
}

func TestAnotherSizeIsRefused(t *testing.T) {
	content, want := makeBlob(1 << 20)
	n := newFabric().node(t, "a", upstreamOf(content), t.TempDir())
	if _, err := fetch(deadline(t), n.Engine, want); err != nil {
		t.Fatal(err)
	}
	want.Size++
	if _, err := n.Open(want); !errors.Is(err, ErrSize) {
		t.Errorf("Open = %v", err)
	}
	if err := n.Accept(t.Context(), "liar", want.Blob, want.Size); !errors.Is(err, ErrUnknownBlob) {
		t.Errorf("Accept = %v", err)
	}
	until(t, n.Engine, "who lies about a proven blob's size to be named", func() bool {
		list, err := n.Quarantined(deadline(t))
		return err == nil && len(list) == 1 && list[0].Peer == "liar"
	})
}
