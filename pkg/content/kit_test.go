package content

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/shoal-project/shoal/pkg/blob"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// threeChunks is the size of a blob of three chunks, the last of them short.
const threeChunks = 2*blob.MinChunk + 1000

// A fakeRuntime is a containerd that a test drives.
type fakeRuntime struct {
	mu     sync.Mutex
	held   []Held
	err    error // of List
	lists  int
	during func() // called while a listing is made, after it was looked up
	events chan Event
	end    chan error // of the stream
}

func newRuntime() *fakeRuntime {
	return &fakeRuntime{events: make(chan Event), end: make(chan error)}
}

func (r *fakeRuntime) List(context.Context) ([]Held, error) {
	r.mu.Lock()
	all, err, during := slices.Clone(r.held), r.err, r.during
	r.lists++
	r.mu.Unlock()
	if during != nil {
		during()
	}
	return all, err
}

// listings is how many were made.
func (r *fakeRuntime) listings() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lists
}

func (r *fakeRuntime) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

func (r *fakeRuntime) Follow(ctx context.Context, tell func(Event)) error {
	for {
		select {
		case ev := <-r.events:
			tell(ev)
		case err := <-r.end:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// A kit is a Content over a folder of the test's, in a synctest bubble.
type kit struct {
	t       *testing.T
	runtime *fakeRuntime
	dir     string // the content folder
	state   string
	rate    blob.ByteCount
	content *Content

	mu    sync.Mutex
	told  []string // "proven" or "gone" and the blob's short name
	names map[blob.Digest]string
}

// inBubble runs a test under fake time. Folders are made before, because they go after.
func inBubble(t *testing.T, test func(k *kit)) {
	t.Helper()
	dir, state := t.TempDir(), filepath.Join(t.TempDir(), "proofs")
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o700); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		test(&kit{t: t, runtime: newRuntime(), dir: dir, state: state, names: map[blob.Digest]string{}})
	})
}

// start runs a Content until the returned function is called.
func (k *kit) start() (stop func()) {
	k.t.Helper()
	note := func(what string) func(blob.Digest) {
		return func(d blob.Digest) {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.told = append(k.told, what+" "+k.names[d])
		}
	}
	var err error
	k.content, err = New(Config{
		Dir: k.dir, StateDir: k.state, Runtime: k.runtime, Rate: k.rate, Log: slog.New(slog.NewTextHandler(k.t.Output(), nil)), OnProven: note("proven"), OnGone: note("gone"),
	})
	if err != nil {
		k.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- k.content.Run(ctx) }()
	synctest.Wait()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			k.t.Error(err)
		}
	}
}

// put writes a blob's file, and has the runtime list it first.
func (k *kit) put(name string, size blob.ByteCount) (Held, []byte) {
	k.t.Helper()
	p := make([]byte, size)
	var key [32]byte
	copy(key[:], name)
	_, _ = rand.NewChaCha8(key).Read(p)
	h := Held{Digest: sha256.Sum256(p), Size: size}
	k.mu.Lock()
	k.names[h.Digest] = name
	k.mu.Unlock()
	k.write(h, p)
	k.runtime.mu.Lock()
	defer k.runtime.mu.Unlock()
	k.runtime.held = append([]Held{h}, k.runtime.held...)
	return h, p
}

func (k *kit) path(h Held) string {
	return filepath.Join(k.dir, "blobs", "sha256", h.Digest.Hex())
}

func (k *kit) write(h Held, p []byte) {
	k.t.Helper()
	_ = os.Remove(k.path(h))
	if err := os.WriteFile(k.path(h), p, 0o400); err != nil {
		k.t.Fatal(err)
	}
}

// remove takes a blob away without a word, as garbage collection does.
func (k *kit) remove(h Held) {
	k.t.Helper()
	if err := os.Remove(k.path(h)); err != nil {
		k.t.Fatal(err)
	}
}

// unlist takes a blob out of the runtime's listing.
func (k *kit) unlist(h Held) {
	k.runtime.mu.Lock()
	defer k.runtime.mu.Unlock()
	k.runtime.held = slices.DeleteFunc(k.runtime.held, func(o Held) bool { return o == h })
}

// tell has the runtime send an event, and waits for what follows at once.
func (k *kit) tell(ev Event) {
	k.runtime.events <- ev
	synctest.Wait()
}

// after lets fake time pass.
func (k *kit) after(d time.Duration) {
	time.Sleep(d) // of the bubble's clock
	synctest.Wait()
}

// heard returns what was told since the last call.
func (k *kit) heard() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	told := k.told
	k.told = nil
	return told
}

func (k *kit) wantHeard(want ...string) {
	k.t.Helper()
	if got := k.heard(); !slices.Equal(got, want) {
		k.t.Errorf("told %q, want %q", got, want)
	}
}

func (k *kit) get(h Held) *Blob {
	k.t.Helper()
	b, err := k.content.Get(h.Digest)
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { _ = b.Close() })
	return b
}

func (k *kit) wantNone(h Held) {
	k.t.Helper()
	if b, err := k.content.Get(h.Digest); !errors.Is(err, ErrNotHeld) {
		k.t.Errorf("Get: %v", err)
		_ = b.Close()
	}
}
