package proxy

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

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
	f := unservedRegistry(t)
	f.server = httptest.NewServer(f)
	t.Cleanup(f.server.Close)
	return f
}

// unservedRegistry is a registry that listens nowhere.
func unservedRegistry(t *testing.T) *fakeRegistry {
	t.Helper()
	return &fakeRegistry{t: t, real: registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))}
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
	c := Config{MembersTimeout: 10 * time.Millisecond} // or every refusal while upstream is away takes 2 s
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
		t.Fatalf("answer %d %v %.200q (%v), want %d", a.code, a.header, a.body, a.err, code)
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

// eventually polls until ok, and fails after ten seconds.
func (k *kit) eventually(ok func() bool) {
	k.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	limit := time.After(10 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			k.t.Fatalf("it never came; outcomes %v", k.outcomes())
		}
	}
}
