package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/shoal-project/shoal/pkg/blob"
)

// wantManifest fails unless the headers of a manifest are exact.
func (a answered) wantManifest(t *testing.T, d blob.Digest, size int) answered {
	t.Helper()
	a.want(t, http.StatusOK)
	if a.header.Get("Docker-Content-Digest") != d.String() || a.length != int64(size) ||
		a.header.Get("Content-Type") != ocispec.MediaTypeImageManifest {
		t.Fatalf("headers %v, length %d; want %s and %d", a.header, a.length, d, size)
	}
	return a
}

func TestManifestByTag(t *testing.T) {
	k := newKit(t, nil)
	img := k.registry.push(testRepo, "v1", pattern(1, 5000), pattern(2, 300))

	k.manifest("HEAD", "v1").wantManifest(t, img.digest, len(img.manifest))
	if got := k.registry.asked("manifests"); len(got) != 1 || got[0] != "HEAD /v2/team/app/manifests/v1" {
		t.Errorf("HEAD asked upstream %v", got)
	}
	if n := len(k.blobs.startedBlobs()); n != 0 {
		t.Errorf("HEAD started %d layers", n)
	}

	k.manifest("GET", "v1").wantManifest(t, img.digest, len(img.manifest)).wantBytes(t, img.manifest)
	if got := k.registry.asked("manifests"); len(got) != 2 || got[1] != "GET /v2/team/app/manifests/"+img.digest.String() {
		t.Errorf("GET asked upstream %v", got)
	}
	started := k.blobs.startedBlobs()
	for _, p := range append(img.layers, img.config) {
		want := Want{Blob: digestOf(p), Size: blob.ByteCount(len(p)), Image: img.digest}
		want.Source.Registry, want.Source.Name = testRegistry, testRepo
		if started[want.Blob] != want {
			t.Errorf("started %+v, want %+v", started[want.Blob], want)
		}
	}
	if len(started) != 3 || !k.store.has(img.digest) {
		t.Errorf("%d started, manifest kept: %v", len(started), k.store.has(img.digest))
	}

	// Now that the digest's bytes are here, the tag costs one HEAD.
	k.manifest("GET", "v1").wantBytes(t, img.manifest)
	if got := k.registry.asked("manifests"); len(got) != 1 || !strings.HasPrefix(got[0], "HEAD") {
		t.Errorf("second GET asked upstream %v", got)
	}
	// A tag that moved is seen at once.
	moved := k.registry.push(testRepo, "v1", pattern(9, 10))
	k.manifest("GET", "v1").wantManifest(t, moved.digest, len(moved.manifest)).wantBytes(t, moved.manifest)
}

func TestManifestByDigest(t *testing.T) {
	k := newKit(t, nil)
	img := k.registry.push(testRepo, "v1", pattern(1, 5000))
	ref := img.digest.String()

	k.manifest("GET", ref).wantManifest(t, img.digest, len(img.manifest)).wantBytes(t, img.manifest)
	if got := k.registry.asked("manifests"); len(got) != 2 || !strings.HasPrefix(got[0], "HEAD") {
		t.Errorf("cold GET asked upstream %v, want first whether the client may", got)
	}
	k.manifest("GET", ref).wantBytes(t, img.manifest)
	k.manifest("HEAD", ref).wantManifest(t, img.digest, len(img.manifest))
	if got := k.registry.asked("manifests"); len(got) != 0 {
		t.Errorf("under a grant, the store's content asked upstream %v", got)
	}
	k.manifest("HEAD", digestOf([]byte("nothing")).String()).want(t, 404)
	k.manifest("GET", digestOf([]byte("nothing")).String()).want(t, 404)
	k.wantOutcomes(map[string]uint64{"manifest served": 3, "manifest not-found": 2})
}

func TestManifestOfIndexStartsNothing(t *testing.T) {
	k := newKit(t, nil)
	img := k.registry.push(testRepo, "v1", pattern(1, 5000))
	index := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`,
		ocispec.MediaTypeImageIndex, ocispec.MediaTypeImageManifest, img.digest, len(img.manifest))
	k.registry.put("/v2/"+testRepo+"/manifests/multi", ocispec.MediaTypeImageIndex, index)

	a := k.manifest("GET", "multi").want(t, 200).wantBytes(t, index)
	if a.header.Get("Content-Type") != ocispec.MediaTypeImageIndex || len(k.blobs.startedBlobs()) != 0 {
		t.Errorf("type %q, started %v", a.header.Get("Content-Type"), k.blobs.startedBlobs())
	}
	k.registry.asked("")
	k.manifest("GET", img.digest.String()).wantManifest(t, img.digest, len(img.manifest))
	if got := k.registry.asked(""); len(got) != 1 {
		t.Errorf("a child of an index under a grant asked upstream %v", got)
	}
	if len(k.blobs.startedBlobs()) != 2 {
		t.Errorf("the child started %v", k.blobs.startedBlobs())
	}
}

func TestManifestForeignLayerIsNotStarted(t *testing.T) {
	k := newKit(t, nil)
	base := k.registry.push(testRepo, "v1", pattern(1, 50))
	var m map[string]any
	if err := json.Unmarshal(base.manifest, &m); err != nil {
		t.Fatal(err)
	}
	m["layers"] = []any{map[string]any{
		"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
		"digest":    someDigest, "size": 7, "urls": []string{"https://elsewhere.example/x"},
	}}
	body, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	k.registry.answer(manifestAnswer(body, func(http.Header) {}))
	k.manifest("GET", "v1").want(t, 200).wantBytes(t, body)
	if got := k.blobs.startedBlobs(); len(got) != 1 || got[digestOf(base.config)].Size == 0 {
		t.Errorf("started %v, want the config only", got)
	}
}

// manifestAnswer serves body as every manifest, its headers changed.
func manifestAnswer(body []byte, change func(h http.Header)) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		h := w.Header()
		h.Set("Content-Type", ocispec.MediaTypeImageManifest)
		h.Set("Docker-Content-Digest", digestOf(body).String())
		h.Set("Content-Length", strconv.Itoa(len(body)))
		change(h)
		if r.Method == http.MethodGet {
			h.Set("Content-Length", strconv.Itoa(len(body)))
			_, _ = w.Write(body)
		}
		return true
	}
}

// The client's fatal cases (containerd-facts.md, section 2) never come from upstream through
// the proxy: what is missing or cannot be right in a HEAD is made good by a GET.
func TestManifestHeadIsMadeGood(t *testing.T) {
	for what, change := range map[string]func(h http.Header){
		"no digest":            func(h http.Header) { h.Del("Docker-Content-Digest") },
		"a malformed digest":   func(h http.Header) { h.Set("Docker-Content-Digest", "sha256:xyz") },
		"no type":              func(h http.Header) { h["Content-Type"] = nil },
		"octet-stream":         func(h http.Header) { h.Set("Content-Type", octetStream) },
		"json":                 func(h http.Header) { h.Set("Content-Type", "application/json; charset=utf-8") },
		"length 0":             func(h http.Header) { h.Set("Content-Length", "0") },
		"an impossible length": func(h http.Header) { h.Set("Content-Length", "99999999999") },
	} {
		t.Run(what, func(t *testing.T) {
			k := newKit(t, nil)
			img := k.registry.push(testRepo, "v1", pattern(1, 5000))
			k.registry.answer(manifestAnswer(img.manifest, change))
			for _, ref := range []string{"v1", img.digest.String()} {
				k.manifest("HEAD", ref).wantManifest(t, img.digest, len(img.manifest))
				k.manifest("GET", ref).wantManifest(t, img.digest, len(img.manifest)).wantBytes(t, img.manifest)
			}
		})
	}
}

// A manifest's type has no parameters (distribution specification, "Pulling manifests").
func TestManifestTypeWithoutParameters(t *testing.T) {
	k := newKit(t, nil)
	img := k.registry.push(testRepo, "v1", pattern(1, 5000))
	k.registry.answer(manifestAnswer(img.manifest, func(h http.Header) {
		h.Set("Content-Type", ocispec.MediaTypeImageManifest+"; charset=utf-8")
	}))
	for _, ref := range []string{"v1", img.digest.String()} {
		k.manifest("HEAD", ref).wantManifest(t, img.digest, len(img.manifest))
		k.manifest("GET", ref).wantManifest(t, img.digest, len(img.manifest))
	}
}

// An upstream that answers HEAD with 405 is asked by GET.
func TestManifestHeadNotAllowed(t *testing.T) {
	k := newKit(t, nil)
	img := k.registry.push(testRepo, "v1", pattern(1, 5000))
	k.registry.answer(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
		return r.Method == http.MethodHead
	})
	k.manifest("HEAD", "v1").wantManifest(t, img.digest, len(img.manifest))
}

// A manifest that is not what upstream says it is goes to nobody, and is not kept.
func TestManifestWrongBytes(t *testing.T) {
	k := newKit(t, nil)
	img := k.registry.push(testRepo, "v1", pattern(1, 5000))
	wrong := []byte(strings.Replace(string(img.manifest), "5000", "5001", 1))
	k.registry.answer(manifestAnswer(wrong, func(h http.Header) { h.Set("Docker-Content-Digest", img.digest.String()) }))
	k.manifest("GET", "v1").want(t, 503)
	k.manifest("GET", img.digest.String()).want(t, 503)
	k.registry.answer(manifestAnswer(wrong, func(http.Header) {}))
	k.manifest("GET", img.digest.String()).want(t, 503)
	if k.store.has(digestOf(wrong)) || k.store.has(img.digest) || len(k.blobs.startedBlobs()) != 0 {
		t.Error("a wrong manifest was kept or followed")
	}
}

// Upstream's error pages are passed or replaced, and never kept as content.
func TestManifestErrorPages(t *testing.T) {
	k := newKit(t, nil)
	img := k.registry.push(testRepo, "v1", pattern(1, 5000))
	page := "<html>Service Unavailable</html>"
	for status, want := range map[int]int{400: 400, 403: 403, 404: 404, 410: 410, 418: 418, 408: 503, 429: 503, 500: 503, 502: 503, 503: 503} {
		k.registry.answer(func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Type", "text/html")
			w.Header().Set("Docker-Content-Digest", img.digest.String())
			w.WriteHeader(status)
			_, _ = w.Write([]byte(page))
			return true
		})
		for _, ref := range []string{"v1", img.digest.String()} {
			a := k.manifest("GET", ref).want(t, want)
			if want != 503 && string(a.body) != page {
				t.Errorf("%d by %s: body %q, want upstream's", status, ref, a.body)
			}
			if want == 503 && !strings.Contains(string(a.body), `"code":"UNAVAILABLE"`) {
				t.Errorf("%d by %s: body %q", status, ref, a.body)
			}
			if a.header.Get("Docker-Content-Digest") != "" {
				t.Errorf("%d by %s names a digest", status, ref)
			}
			k.manifest("HEAD", ref).want(t, want)
		}
	}
	if len(k.store.held) != 0 {
		t.Errorf("the store holds %d blobs", len(k.store.held))
	}
	k.registry.answer(func(w http.ResponseWriter, _ *http.Request) bool {
		_, _ = w.Write([]byte(page)) // a login page with status 200
		return true
	})
	k.manifest("GET", img.digest.String()).want(t, 503)
	if len(k.store.held) != 0 {
		t.Error("a login page was kept")
	}
}

// What Shoal cannot read it passes, unread and not kept.
func TestManifestOpaque(t *testing.T) {
	k := newKit(t, nil)
	body := []byte(`{"schemaVersion":2,"hello":"world"}`)
	k.registry.answer(manifestAnswer(body, func(h http.Header) { h.Set("Content-Type", "application/vnd.example+json") }))
	a := k.manifest("GET", "v1").want(t, 200).wantBytes(t, body)
	if a.header.Get("Content-Type") != "application/vnd.example+json" || len(k.store.held) != 0 {
		t.Errorf("type %q, %d kept", a.header.Get("Content-Type"), len(k.store.held))
	}
}

// A store that cannot write fails no pull.
func TestManifestStoreFails(t *testing.T) {
	k := newKit(t, nil)
	img := k.registry.push(testRepo, "v1", pattern(1, 5000))
	k.store.fail = errors.New("disk full")
	k.manifest("GET", "v1").wantManifest(t, img.digest, len(img.manifest)).wantBytes(t, img.manifest)
}

// The Accept headers decide between an index and a manifest upstream, so they go there as they came,
// and Accept-Encoding does not.
func TestManifestAcceptIsPassed(t *testing.T) {
	k := newKit(t, nil)
	k.registry.push(testRepo, "v1", pattern(1, 50))
	seen := make(chan http.Header, 8)
	k.registry.answer(func(_ http.ResponseWriter, r *http.Request) bool {
		seen <- r.Header
		return false
	})
	k.manifest("HEAD", "v1", "Accept", "a/b", "Accept", "c/d, */*", "Accept-Encoding", "zstd, gzip", "Cookie", "x=y").want(t, 200)
	h := <-seen
	if got := fmt.Sprint(h["Accept"]); got != "[a/b c/d, */*]" {
		t.Errorf("Accept %s", got)
	}
	if e := h.Get("Accept-Encoding"); e != "" && e != "identity" || h.Get("Cookie") != "" {
		t.Errorf("passed on: %v", h)
	}
}

// A manifest of absurdly many layers does not start them all.
func TestManifestOfManyLayers(t *testing.T) {
	k := newKit(t, nil)
	layers := make([]string, 600)
	for i := range layers {
		layers[i] = fmt.Sprintf(`{"mediaType":"x/y","digest":%q,"size":1}`, digestOf(fmt.Append(nil, i)))
	}
	body := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`,
		ocispec.MediaTypeImageManifest, layers[0], strings.Join(layers, ","))
	k.registry.answer(manifestAnswer(body, func(http.Header) {}))
	k.manifest("GET", "v1").want(t, 200).wantBytes(t, body)
	if n := len(k.blobs.startedBlobs()); n != maxAhead {
		t.Errorf("%d layers were started", n)
	}
	k.blobs.hold([]byte("599")) // a client may have the others all the same
	k.blob("HEAD", digestOf([]byte("599"))).want(t, 200)
}

func TestOnDemandStartsNothing(t *testing.T) {
	k := newKit(t, func(c *Config, _ *Deps) { c.OnDemand = true })
	k.registry.push(testRepo, "v1", pattern(1, 5000))
	k.manifest("GET", "v1").want(t, 200)
	if n := len(k.blobs.startedBlobs()); n != 0 {
		t.Errorf("%d layers were started", n)
	}
}
