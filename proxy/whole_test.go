package proxy_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/shoal-project/shoal/p2p/admission"
	"github.com/shoal-project/shoal/pkg/admin"
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/config"
	"github.com/shoal-project/shoal/pkg/daemon"
)

// The tests of this package before a whole node: the daemon as it runs, a registry behind it,
// and members beside it where a test wants them.

// patience bounds every wait.
const patience = 30 * time.Second

// originName is the registry in image names.
const originName = "registry.test"

// An origin is a registry whose repositories share nothing.
type origin struct {
	*httptest.Server

	mu   sync.Mutex
	held map[string]entry // by path
	// gate answers in the registry's place when it returns true.
	gate func(w http.ResponseWriter, r *http.Request) bool
}

// An entry is one manifest, blob or list.
type entry struct {
	mediaType, digest string
	body              []byte
}

func newOrigin(t *testing.T) *origin {
	t.Helper()
	o := &origin{held: map[string]entry{}}
	o.Server = httptest.NewServer(o)
	t.Cleanup(o.Close)
	return o
}

// set changes the origin between requests.
func (o *origin) set(change func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change()
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	gate, found := o.gate, o.held[r.URL.Path]
	o.mu.Unlock()
	if gate != nil && gate(w, r) || r.URL.Path == "/v2/" {
		return
	}
	if found.body == nil {
		refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN")
		return
	}
	w.Header().Set("Content-Type", found.mediaType)
	if found.digest != "" {
		w.Header().Set("Docker-Content-Digest", found.digest)
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(found.body))
}

// refuse answers as registries do.
func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"the registry's own words"}]}`, code)
}

// A pushed is one image of an origin.
type pushed struct {
	repo, tag string
	manifest  entry
	blobs     []entry // config first
}

// push puts an image of random layers of these sizes under repo:tag.
func (o *origin) push(t *testing.T, repo, tag string, sizes ...int) pushed {
	t.Helper()
	img := pushed{repo: repo, tag: tag}
	add := func(mediaType string, body []byte) ocispec.Descriptor {
		img.blobs = append(img.blobs, o.put("/v2/"+repo+"/blobs/", mediaType, body))
		d := ocispec.Descriptor{MediaType: mediaType, Size: int64(len(body))}
		if err := json.Unmarshal(fmt.Appendf(nil, "%q", nameOf(body)), &d.Digest); err != nil {
			t.Fatal(err)
		}
		return d
	}
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest}
	m.SchemaVersion = 2
	m.Config = add(ocispec.MediaTypeImageConfig, fmt.Appendf(nil, `{"os":"linux","architecture":"amd64","image":%q}`, repo+":"+tag))
	for i, size := range sizes {
		layer := make([]byte, size)
		_, _ = rand.NewChaCha8(sha256.Sum256(fmt.Append(nil, repo, tag, i))).Read(layer)
		m.Layers = append(m.Layers, add(ocispec.MediaTypeImageLayer, layer))
	}
	body, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	img.manifest = o.put("/v2/"+repo+"/manifests/", m.MediaType, body)
	o.set(func() { o.held["/v2/"+repo+"/manifests/"+tag] = img.manifest })
	return img
}

// put keeps content under the digest of its bytes.
func (o *origin) put(folder, mediaType string, body []byte) entry {
	e := entry{mediaType: mediaType, digest: nameOf(body), body: body}
	o.set(func() { o.held[folder+e.digest] = e })
	return e
}

func nameOf(body []byte) string { return blob.Digest(sha256.Sum256(body)).String() }

// withhold is a gate that lets the origin say what it has, and never send it.
func (o *origin) withhold(w http.ResponseWriter, r *http.Request) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r.Method == http.MethodHead || o.held[r.URL.Path].body == nil {
		return false
	}
	refuse(w, http.StatusServiceUnavailable, "UNAVAILABLE")
	return true
}

// A node is a whole daemon.
type node struct {
	t      *testing.T
	cfg    config.Config
	admin  *admin.Client
	client *http.Client
	url    string // where clients reach it
	peers  string // where members reach it
	log    *notes
}

// settings are those of a node before the origin, on ports of its own.
func settings(t *testing.T, o *origin) config.Config {
	t.Helper()
	dir, err := os.MkdirTemp("", "shoal") //nolint:usetesting // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c := config.Default()
	c.Listen, c.MetricsListen = "127.0.0.1:0", freePort(t)
	c.P2PListen = []string{"/ip4/127.0.0.1/tcp/0"}
	c.DataDir, c.AdminSocket = filepath.Join(dir, "data"), filepath.Join(dir, "admin.sock")
	c.Upstreams = map[string]string{originName: o.URL}
	return c
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// run runs a node until the test ends.
func run(t *testing.T, c config.Config) *node {
	t.Helper()
	n := &node{t: t, cfg: c, admin: admin.NewClient(c.AdminSocket), log: newNotes(), client: &http.Client{Transport: &http.Transport{}}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- daemon.Run(ctx, c, slog.New(n.log), daemon.Build{Version: "test"}) }()
	select {
	case n.url = <-n.log.clients:
	case err := <-ended:
		cancel()
		t.Fatalf("Run = %v", err)
	}
	t.Cleanup(func() {
		n.client.CloseIdleConnections()
		n.admin.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
		if t.Failed() {
			t.Log(n.log.String())
		}
	})
	if len(c.P2PSecretFiles) > 0 {
		n.peers = <-n.log.members
	}
	return n
}

// runPair runs two nodes that are members of one swarm.
func runPair(t *testing.T, o *origin, change func(*config.Config)) [2]*node {
	t.Helper()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, admission.GenerateSecret().Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	var pair [2]*node
	for i := range pair {
		c := settings(t, o)
		c.P2PSecretFiles = []string{secret}
		if i > 0 {
			c.P2PBootstrap = []string{pair[0].peers}
		}
		if change != nil {
			change(&c)
		}
		pair[i] = run(t, c)
	}
	for _, n := range pair {
		n.until("the other is a member", func(s admin.Status) bool { return s.Members == 1 })
	}
	return pair
}

// until asks the node for its status until it is as it should be.
func (n *node) until(what string, met func(admin.Status) bool) {
	n.t.Helper()
	ctx, cancel := context.WithTimeoutCause(n.t.Context(), patience, fmt.Errorf("waiting until %s", what))
	defer cancel()
	for {
		status, err := n.admin.Status(ctx)
		if err != nil {
			n.t.Fatalf("%v: %v", context.Cause(ctx), err)
		}
		if met(status) {
			return
		}
	}
}

// An answered is a whole answer.
type answered struct {
	code   int
	header http.Header
	length int64
	body   []byte
}

// ask asks the node, with these headers in pairs.
func (n *node) ask(method, path string, header ...string) answered {
	n.t.Helper()
	r, err := http.NewRequestWithContext(n.t.Context(), method, n.url+path, http.NoBody)
	if err != nil {
		n.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	res, err := n.client.Do(r)
	if err != nil {
		n.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		n.t.Fatalf("%s %s: %v after %d bytes", method, path, err, len(body))
	}
	return answered{code: res.StatusCode, header: res.Header, length: res.ContentLength, body: body}
}

// notes is a log handler that keeps every line at every level, and tells where the node listens.
type notes struct {
	mu      sync.Mutex
	text    strings.Builder
	lines   slog.Handler
	clients chan string
	members chan string
}

func newNotes() *notes {
	n := &notes{clients: make(chan string, 1), members: make(chan string, 1)}
	n.lines = slog.NewJSONHandler(&n.text, &slog.HandlerOptions{Level: slog.LevelDebug, AddSource: true})
	return n
}

func (n *notes) Enabled(context.Context, slog.Level) bool { return true }
func (n *notes) WithAttrs([]slog.Attr) slog.Handler       { return n }
func (n *notes) WithGroup(string) slog.Handler            { return n }

func (n *notes) Handle(ctx context.Context, record slog.Record) error {
	record.Attrs(func(a slog.Attr) bool {
		switch record.Message + ": " + a.Key {
		case "shoal is ready: clients":
			n.clients <- "http://" + a.Value.String()
		case "listening for members: addresses":
			n.members <- strings.Trim(a.Value.String(), "[]")
		}
		return true
	})
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lines.Handle(ctx, record)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}
