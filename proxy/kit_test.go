package proxy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/goleak"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testRegistry = "reg.example:5000"
	testRepo     = "team/app"
)

// digestOf names content.
func digestOf(p []byte) blob.Digest { return blob.Digest(sha256.Sum256(p)) }

// pattern is n bytes that differ everywhere and between seeds.
func pattern(seed byte, n int) []byte {
	p := make([]byte, n)
	state := uint32(seed) + 1
	for i := range p {
		state = state*1664525 + 1013904223
		p[i] = byte(state >> 24)
	}
	return p
}

// A fakeRegistry is go-containerregistry's with a log of what it was asked, and a
// hook that may answer in its place.
type fakeRegistry struct {
	t      *testing.T
	server *httptest.Server
	real   http.Handler

	mu   sync.Mutex
	log  []string // "METHOD path"
	hook func(w http.ResponseWriter, r *http.Request) bool
}

func newRegistry(t *testing.T) *fakeRegistry {
	t.Helper()
	f := &fakeRegistry{t: t, real: registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))}
	f.server = httptest.NewServer(f)
	t.Cleanup(f.server.Close)
	return f
}

func (f *fakeRegistry) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.log = append(f.log, r.Method+" "+r.URL.Path)
	hook := f.hook
	f.mu.Unlock()
	if hook == nil || !hook(w, r) {
		f.real.ServeHTTP(w, r)
	}
}

// answer puts hook in front of the registry; nil takes it away. It returns true when it answered.
func (f *fakeRegistry) answer(hook func(w http.ResponseWriter, r *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = hook
}

// status has the registry answer everything with code.
func (f *fakeRegistry) status(code int) {
	f.answer(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(code)
		_, _ = w.Write([]byte(`{"errors":[{"code":"X"}]}`))
		return true
	})
}

// asked returns the requests since the last call that hold part.
func (f *fakeRegistry) asked(part string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, line := range f.log {
		if strings.Contains(line, part) {
			out = append(out, line)
		}
	}
	f.log = nil
	return out
}

// put sends content to the registry itself, past log and hook.
func (f *fakeRegistry) put(path, contentType string, body []byte) {
	f.t.Helper()
	method := http.MethodPut
	if strings.Contains(path, "/blobs/") {
		method = http.MethodPost
	}
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	f.real.ServeHTTP(w, r)
	if w.Code != http.StatusCreated {
		f.t.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
}

// An image is one image in the fake registry.
type image struct {
	repo     string
	layers   [][]byte
	config   []byte
	manifest []byte
	digest   blob.Digest
}

// push makes an image of the given layers and puts it under repo:tag.
func (f *fakeRegistry) push(repo, tag string, layers ...[]byte) image {
	f.t.Helper()
	img := image{repo: repo, layers: layers, config: fmt.Appendf(nil, `{"repo":%q,"tag":%q}`, repo, tag)}
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest}
	m.SchemaVersion = 2
	add := func(mediaType string, p []byte) ocispec.Descriptor {
		d := digestOf(p)
		f.put("/v2/"+repo+"/blobs/uploads/?digest="+d.String(), octetStream, p)
		desc := ocispec.Descriptor{MediaType: mediaType, Size: int64(len(p))}
		if err := json.Unmarshal([]byte(`"`+d.String()+`"`), &desc.Digest); err != nil {
			f.t.Fatal(err)
		}
		return desc
	}
	m.Config = add(ocispec.MediaTypeImageConfig, img.config)
	for _, p := range layers {
		m.Layers = append(m.Layers, add(ocispec.MediaTypeImageLayer, p))
	}
	var err error
	if img.manifest, err = json.Marshal(m); err != nil {
		f.t.Fatal(err)
	}
	img.digest = digestOf(img.manifest)
	f.put("/v2/"+repo+"/manifests/"+img.digest.String(), ocispec.MediaTypeImageManifest, img.manifest)
	f.put("/v2/"+repo+"/manifests/"+tag, ocispec.MediaTypeImageManifest, img.manifest)
	return img
}

// A memStore is a Store in memory.
type memStore struct {
	mu   sync.Mutex
	held map[blob.Digest][]byte
	fail error
}

func (s *memStore) Bytes(d blob.Digest, limit blob.ByteCount) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.held[d]
	if !ok || len(p) > int(limit) {
		return nil, ErrNotHeld
	}
	return p, nil
}

func (s *memStore) Size(d blob.Digest) (blob.ByteCount, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p, ok := s.held[d]
	if !ok {
		return 0, ErrNotHeld
	}
	return blob.ByteCount(len(p)), nil
}

func (s *memStore) PutBytes(d blob.Digest, p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	if digestOf(p) != d {
		return errors.New("bytes do not match the digest")
	}
	s.held[d] = bytes.Clone(p)
	return nil
}

func (s *memStore) has(d blob.Digest) bool { _, err := s.Size(d); return err == nil }

// fakeBlobs are downloads that a test drives. A blob in proven is whole; one in rows has
// its first bytes available; another stays silent.
type fakeBlobs struct {
	dir     string
	mu      sync.Mutex
	started []Want
	opened  []Want
	content map[blob.Digest][]byte
	rows    map[blob.Digest]int // how many bytes from the start are available
	proven  map[blob.Digest]bool
	failed  map[blob.Digest]error
	refuse  error         // Open's answer
	changed chan struct{} // closed and replaced on every change
	open    int
}

func newBlobs(t *testing.T) *fakeBlobs {
	t.Helper()
	return &fakeBlobs{
		dir: t.TempDir(), content: map[blob.Digest][]byte{}, rows: map[blob.Digest]int{},
		proven: map[blob.Digest]bool{}, failed: map[blob.Digest]error{}, changed: make(chan struct{}),
	}
}

// update changes the state under the lock and wakes whoever waits.
func (b *fakeBlobs) update(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
	close(b.changed)
	b.changed = make(chan struct{})
}

// hold makes p a proven blob.
func (b *fakeBlobs) hold(p []byte) {
	b.update(func() { d := digestOf(p); b.content[d], b.proven[d] = p, true })
}

func (b *fakeBlobs) Start(w Want) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.started = append(b.started, w)
	return nil
}

func (b *fakeBlobs) Open(_ context.Context, w Want) (Body, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opened = append(b.opened, w)
	if b.refuse != nil {
		return nil, b.refuse
	}
	b.open++
	return &fakeBody{blobs: b, want: w}, nil
}

// startedBlobs is the digests that Start was called with.
func (b *fakeBlobs) startedBlobs() map[blob.Digest]Want {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := map[blob.Digest]Want{}
	for _, w := range b.started {
		out[w.Blob] = w
	}
	return out
}

type fakeBody struct {
	blobs *fakeBlobs
	want  Want
}

func (b *fakeBody) Size() blob.ByteCount { return b.want.Size }

func (b *fakeBody) Available(ctx context.Context, off blob.ByteCount) (blob.ByteCount, bool, error) {
	for {
		b.blobs.mu.Lock()
		proven, row, err := b.blobs.proven[b.want.Blob], b.blobs.rows[b.want.Blob], b.blobs.failed[b.want.Blob]
		changed := b.blobs.changed
		b.blobs.mu.Unlock()
		switch {
		case proven:
			return b.want.Size - off, true, nil
		case blob.ByteCount(row) > off:
			return blob.ByteCount(row) - off, false, nil
		case err != nil:
			return 0, false, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, false, fmt.Errorf("wait: %w", context.Cause(ctx))
		}
	}
}

func (b *fakeBody) ReadAt(p []byte, off int64) (int, error) {
	b.blobs.mu.Lock()
	defer b.blobs.mu.Unlock()
	n := copy(p, b.blobs.content[b.want.Blob][off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (b *fakeBody) File() (*os.File, error) {
	b.blobs.mu.Lock()
	defer b.blobs.mu.Unlock()
	if !b.blobs.proven[b.want.Blob] {
		return nil, errors.New("blob is not proven")
	}
	path := filepath.Join(b.blobs.dir, b.want.Blob.Hex())
	if f, err := os.Open(path); err == nil {
		return f, nil
	}
	if err := os.WriteFile(path, b.blobs.content[b.want.Blob], 0o600); err != nil {
		return nil, err
	}
	return os.Open(path)
}

func (b *fakeBody) Close() error {
	b.blobs.mu.Lock()
	defer b.blobs.mu.Unlock()
	b.blobs.open--
	return nil
}

// fakeMembers answer what a test says.
type fakeMembers struct {
	mu    sync.Mutex
	said  []Answer
	asked int
}

func (m *fakeMembers) Resolve(context.Context, upstream.Repository, upstream.Reference) ([]Answer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	return m.said, nil
}

// A kit is a Proxy with fakes around it.
type kit struct {
	t        *testing.T
	registry *fakeRegistry
	store    *memStore
	blobs    *fakeBlobs
	proxy    *Proxy
	server   *httptest.Server
	client   *http.Client
	stop     func() // ends what run began
}

// newKit starts a Proxy before a fake registry, and a server before that.
func newKit(t *testing.T, change func(*Config, *Deps)) *kit {
	t.Helper()
	k := &kit{t: t, registry: newRegistry(t), store: &memStore{held: map[blob.Digest][]byte{}}, blobs: newBlobs(t)}
	up, err := upstream.New(upstream.Config{Upstreams: map[string]string{
		testRegistry: k.registry.server.URL, "docker.io": k.registry.server.URL,
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Close)
	c := Config{}
	d := Deps{Upstream: up, Blobs: k.blobs, Store: k.store, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&c, &d)
	}
	if k.proxy, err = New(c, d); err != nil {
		t.Fatal(err)
	}
	k.server = httptest.NewUnstartedServer(nil)
	k.server.Config = NewServer(c, k.proxy, d.Log)
	k.server.Start()
	t.Cleanup(k.server.Close)
	k.client = &http.Client{Transport: &http.Transport{DisableCompression: true}}
	t.Cleanup(k.client.CloseIdleConnections)
	return k
}

// An answered is a whole answer of the proxy.
type answered struct {
	code   int
	header http.Header
	length int64
	body   []byte
	err    error // of reading the body
}

// do asks the proxy. The path may hold a query; ns is added unless it does.
func (k *kit) do(method, path string, header ...string) answered {
	k.t.Helper()
	if !strings.Contains(path, "?") {
		path += "?ns=" + strings.ReplaceAll(testRegistry, ":", "%3A")
	}
	r, err := http.NewRequestWithContext(k.t.Context(), method, k.server.URL+path, nil)
	if err != nil {
		k.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	res, err := k.client.Do(r)
	if err != nil {
		return answered{err: err}
	}
	defer func() { _ = res.Body.Close() }()
	a := answered{code: res.StatusCode, header: res.Header, length: res.ContentLength}
	a.body, a.err = io.ReadAll(res.Body)
	return a
}

func (k *kit) manifest(method, ref string, header ...string) answered {
	k.t.Helper()
	return k.do(method, "/v2/"+testRepo+"/manifests/"+ref, header...)
}

func (k *kit) blob(method string, d blob.Digest, header ...string) answered {
	k.t.Helper()
	return k.do(method, "/v2/"+testRepo+"/blobs/"+d.String(), header...)
}

// want fails unless the answer has this status.
func (a answered) want(t *testing.T, code int) answered {
	t.Helper()
	if a.err != nil || a.code != code {
		t.Fatalf("answer %d %v %q (%v), want %d", a.code, a.header, a.body, a.err, code)
	}
	return a
}

// wantBytes fails unless the answer's body is p.
func (a answered) wantBytes(t *testing.T, p []byte) answered {
	t.Helper()
	if a.err != nil || !bytes.Equal(a.body, p) {
		t.Fatalf("body of %d bytes (%v), want %d other ones", len(a.body), a.err, len(p))
	}
	return a
}

// outcomes is what the proxy counted, zeros left out.
func (k *kit) outcomes() map[string]uint64 {
	out := map[string]uint64{}
	for _, c := range k.proxy.Counts().Requests {
		if c.N > 0 {
			out[c.Kind.String()+" "+c.Outcome.String()] = c.N
		}
	}
	return out
}

func (k *kit) wantOutcomes(want map[string]uint64) {
	k.t.Helper()
	if got := k.outcomes(); !maps.Equal(got, want) {
		k.t.Errorf("counted %v, want %v", got, want)
	}
}
