package daemon

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	contents "github.com/containerd/containerd/api/services/content/v1"
	streams "github.com/containerd/containerd/api/services/events/v1"
	"google.golang.org/grpc"

	"github.com/shoal-project/shoal/pkg/admin"
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/config"
	"github.com/shoal-project/shoal/pkg/containerd/configtoml"
	"github.com/shoal-project/shoal/pkg/content"
)

// A fakeContainerd is a content folder, and a socket that lists what is in it.
type fakeContainerd struct {
	contents.UnimplementedContentServer
	streams.UnimplementedEventsServer
	t      *testing.T
	dir    string
	socket string

	mu   sync.Mutex
	held map[blob.Digest]int
	ends chan struct{}
}

func newContainerd(t *testing.T) *fakeContainerd {
	t.Helper()
	dir, err := os.MkdirTemp("", "containerd") //nolint:usetesting // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeContainerd{t: t, dir: dir, socket: filepath.Join(dir, "s"), held: map[blob.Digest]int{}, ends: make(chan struct{})}
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o700); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", f.socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	contents.RegisterContentServer(server, f)
	streams.RegisterEventsServer(server, f)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		close(f.ends)
		server.Stop()
		if err := errors.Join(<-ended, os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *fakeContainerd) List(_ *contents.ListContentRequest, stream contents.Content_ListServer) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for d, size := range f.held {
		if err := stream.Send(&contents.ListContentResponse{Info: []*contents.Info{{Digest: d.String(), Size: int64(size)}}}); err != nil {
			return err
		}
	}
	return nil
}

// Subscribe tells of nothing: the daemon lists often enough in these tests.
func (f *fakeContainerd) Subscribe(_ *streams.SubscribeRequest, stream streams.Events_SubscribeServer) error {
	select {
	case <-stream.Context().Done():
	case <-f.ends:
	}
	return nil
}

func (f *fakeContainerd) keep(blobs ...[]byte) {
	f.t.Helper()
	for _, p := range blobs {
		d := blob.Digest(sha256.Sum256(p))
		if err := os.WriteFile(f.path(d), p, 0o400); err != nil {
			f.t.Fatal(err)
		}
		f.mu.Lock()
		f.held[d] = len(p)
		f.mu.Unlock()
	}
}

func (f *fakeContainerd) path(d blob.Digest) string {
	return filepath.Join(f.dir, "blobs", "sha256", d.Hex())
}

// drop removes everything.
func (f *fakeContainerd) drop() {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for d := range f.held {
		if err := os.Remove(f.path(d)); err != nil {
			f.t.Fatal(err)
		}
		delete(f.held, d)
	}
}

// beside are settings of a daemon beside that containerd. Its configuration is in the file
// tree at root.
func (f *fakeContainerd) beside(c config.Config) config.Config {
	c.ContainerdContent, c.ContainerdSocket, c.ContainerdRoot = f.dir, f.socket, f.dir
	return c
}

// quick looks again and again.
func quick() timing {
	times := defaultTiming()
	times.dedupe, times.kept, times.unsure = 10*time.Millisecond, 50*time.Millisecond, 100*time.Millisecond
	times.content = content.Timing{Retry: time.Millisecond, Relist: 10 * time.Millisecond, Settle: time.Millisecond, Sweep: 10 * time.Millisecond}
	return times
}

func (r *testRegistry) all() [][]byte {
	all := append(make([][]byte, 0, 1+len(r.blobs)), r.manifest)
	for _, p := range r.blobs {
		all = append(all, p)
	}
	return all
}

// pair starts a daemon beside a containerd, and another one that has nothing.
func pair(t *testing.T, r *testRegistry, f *fakeContainerd, set func(*config.Config)) (beside, other *daemon) {
	t.Helper()
	secret := secretFile(t)
	c := f.beside(settings(t, r))
	c.P2PSecretFiles = []string{secret}
	set(&c)
	beside = startWith(t, c, quick())
	c = settings(t, r)
	c.P2PSecretFiles, c.P2PBootstrap = []string{secret}, []string{beside.peers}
	other = start(t, c)
	for _, d := range []*daemon{beside, other} {
		d.until(t, "members", func(s admin.Status) bool { return s.Members == 1 })
	}
	return beside, other
}

// What containerd pulled without Shoal comes from this node to the others.
func TestContainerdsContentIsOffered(t *testing.T) {
	r, f := newRegistry(t, 3<<20+5, 700<<10, 100), newContainerd(t)
	f.keep(r.all()...)
	beside, other := pair(t, r, f, func(*config.Config) {})
	s := beside.until(t, "proof", func(s admin.Status) bool { return s.Containerd.Blobs == len(r.all()) })
	if !s.Containerd.Followed || s.Containerd.Waiting != 0 || s.Store.Blobs != 0 {
		t.Errorf("%+v, %+v", s.Containerd, s.Store)
	}
	r.set(func() { r.down = true })
	if err := other.pull(soon(t), r); err != nil {
		t.Fatal(err)
	}
	if sent := r.sent.Load(); sent != 0 {
		t.Errorf("the registry sent %d bytes of layers", sent)
	}
	if err := beside.pull(soon(t), r); err != nil {
		t.Fatal(err)
	}
	if s := beside.until(t, "the end", func(admin.Status) bool { return true }); s.Store.Blobs != 0 || r.sent.Load() != 0 {
		t.Errorf("a client of this node had it fetched: %+v, %d bytes", s.Store, r.sent.Load())
	}
	layers, err := beside.admin.Layers(soon(t))
	if err != nil || len(layers.Layers) != len(r.all()) || layers.Layers[0].Place != admin.PlaceContainerd || layers.Layers[0].State != admin.LayerProven {
		t.Errorf("%+v, %v", layers.Layers, err)
	}

	f.drop()
	beside.until(t, "withdrawal", func(s admin.Status) bool { return s.Containerd.Blobs == 0 })
}

// What containerd keeps goes from the store, and what it drops afterwards is fetched again.
func TestNothingIsKeptTwice(t *testing.T) {
	r, f := newRegistry(t, 2<<20, 100), newContainerd(t)
	beside, other := pair(t, r, f, func(*config.Config) {})
	if err := beside.pull(soon(t), r); err != nil {
		t.Fatal(err)
	}
	once := r.sent.Load()
	f.keep(r.all()...)
	beside.until(t, "removal", func(s admin.Status) bool { return s.Store.Blobs == 0 && s.Containerd.Blobs == len(r.all()) })
	r.set(func() { r.down = true })
	if err := errors.Join(other.pull(soon(t), r), beside.pull(soon(t), r)); err != nil {
		t.Fatal(err)
	}
	if sent := r.sent.Load(); sent != once {
		t.Errorf("the registry sent %d bytes more", sent-once)
	}
	f.drop()
	beside.until(t, "withdrawal", func(s admin.Status) bool { return s.Containerd.Blobs == 0 })
	r.set(func() { r.down = false })
	if err := beside.pull(soon(t), r); err != nil {
		t.Fatal(err)
	}
}

// Whether the store keeps its copy depends on the setting, on whether containerd says that it
// drops layers, and on how long it has kept its own.
func TestWhatIsKeptTwice(t *testing.T) {
	const drops = "version = 3\n[plugins.'io.containerd.cri.v1.images']\ndiscard_unpacked_layers = true\n"
	const elsewhere = "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/not/seen/certs.d'\n"
	for name, c := range map[string]struct {
		dedupe config.StoreDedupe
		toml   string // containerd's configuration; empty: it cannot be seen
		hosts  string // the folder of hosts, if it is named
		unsure time.Duration
		stays  bool
	}{
		"off":                     {config.DedupeOff, "version = 3\n", "", 0, true},
		"auto":                    {config.DedupeAuto, "version = 3\n", "", time.Hour, false},
		"auto, layers dropped":    {config.DedupeAuto, drops, "", 0, true},
		"auto, folders not seen":  {config.DedupeAuto, elsewhere, "", time.Hour, false},
		"auto, nobody knows":      {config.DedupeAuto, "", "", time.Hour, true},
		"folder named, file not":  {config.DedupeAuto, "", "/blobs", time.Hour, true},
		"nobody knows, long kept": {config.DedupeAuto, "", "", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			r, f := newRegistry(t, 1<<20), newContainerd(t)
			if c.toml != "" {
				f.write("etc/containerd/config.toml", c.toml)
			}
			settings := f.beside(settings(t, r))
			settings.StoreDedupe = c.dedupe
			settings.ContainerdHostsDir = c.hosts
			times := quick()
			times.unsure = c.unsure
			n := runtimeNode(t, settings, times)
			content := r.layers[0]
			d := blob.Digest(sha256.Sum256(content))
			if err := n.store.PutBytes(d, content); err != nil {
				t.Fatal(err)
			}
			f.keep(content)
			n.lookAtConfig(t.Context())
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- n.runtime.content.Run(ctx) }()
			limit := soon(t)
			for !n.runtime.content.Kept(d, times.kept) {
				if limit.Err() != nil {
					t.Fatal("containerd's copy is never proven")
				}
			}
			n.dedupe()
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if stats := n.store.Stats(); (stats.Blobs == 1) != c.stays {
				t.Errorf("%+v", stats)
			}
		})
	}
}

// runtimeNode opens the parts of a node that does not run.
func runtimeNode(t *testing.T, c config.Config, times timing) *node {
	t.Helper()
	n := &node{cfg: c, log: slog.New(slog.DiscardHandler), start: time.Now(), timing: times}
	if err := n.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// Without containerd everything else works, and the status says what is missing.
func TestWithoutContainerd(t *testing.T) {
	r := newRegistry(t, 1<<20)
	c := settings(t, r)
	c.ContainerdContent, c.ContainerdSocket = filepath.Join(c.DataDir, "none"), filepath.Join(c.DataDir, "sock")
	d := startWith(t, c, quick())
	if err := d.pull(soon(t), r); err != nil {
		t.Fatal(err)
	}
	s := d.until(t, "the reason", func(s admin.Status) bool { return strings.Contains(s.Containerd.Reason, "no such file") })
	if s.Containerd.Followed {
		t.Errorf("%+v", s.Containerd)
	}
}

// looked is what the metric says of containerd's files now.
func (n *node) looked(t *testing.T) string {
	t.Helper()
	n.lookAtConfig(t.Context())
	switch effective := n.runtime.status().MirrorEffective; {
	case effective == nil:
		return "unknown"
	case *effective:
		return "yes"
	default:
		return "no"
	}
}

// write puts a file into the machine's tree.
func (f *fakeContainerd) write(name, text string) {
	f.t.Helper()
	file := filepath.Join(f.dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
		f.t.Fatal(err)
	}
}

// asksShoal is a hosts.toml, with the mirror where mirrored has it.
const asksShoal = "[host.'http://127.0.0.1:6050']\ncapabilities = ['pull', 'resolve']\n"

// mirrored is a node beside a containerd whose files can name it; nothing listens.
func mirrored(t *testing.T, f *fakeContainerd, set func(*config.Config)) *node {
	t.Helper()
	c := f.beside(settings(t, newRegistry(t, 100)))
	c.Listen = "127.0.0.1:6050"
	set(&c)
	return runtimeNode(t, c, quick())
}

// The metric says what the files say, and nothing where they cannot be seen, as in a container
// that has the configuration and not the folder that it names.
func TestMirrorIsLookedAt(t *testing.T) {
	f := newContainerd(t)
	n := mirrored(t, f, func(*config.Config) {})
	said := n.looked(t)
	for _, step := range []struct{ file, text string }{
		{"etc/containerd/config.toml", "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/certs.d'\n"},
		{"certs.d/docker.io/hosts.toml", ""},
		{"certs.d/docker.io/hosts.toml", asksShoal},
	} {
		f.write(step.file, step.text)
		said += " " + n.looked(t)
	}
	if said != "unknown unknown no yes" {
		t.Error(said)
	}
}

// The files are read by the rules of the containerd that is there: a list of two folders works
// with 2.0 and not with later ones.
func TestMirrorIsLookedAtAsContainerdReads(t *testing.T) {
	for release, want := range map[configtoml.Release]string{configtoml.TwoZero: "yes", configtoml.Newest: "no"} {
		f := newContainerd(t)
		f.write("etc/containerd/config.toml", "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/etc/containerd/certs.d:/etc/docker/certs.d'\n")
		f.write("etc/containerd/certs.d/docker.io/hosts.toml", asksShoal)
		n := mirrored(t, f, func(c *config.Config) { c.ContainerdRelease = release })
		if said := n.looked(t); said != want {
			t.Errorf("%v: %s", release, said)
		}
	}
}

// Where the folder is named, as on Talos, nothing else has to be seen.
func TestMirrorIsLookedAtInNamedFolder(t *testing.T) {
	f := newContainerd(t)
	f.write("hosts/docker.io/hosts.toml", asksShoal)
	n := mirrored(t, f, func(c *config.Config) { c.ContainerdHostsDir = "/hosts" })
	if said := n.looked(t); said != "yes" {
		t.Error(said)
	}
}
