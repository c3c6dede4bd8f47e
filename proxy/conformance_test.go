package proxy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// The OCI distribution specification v1.1 as far as it asks something of a registry that is
// pulled from: "Pull", "Content Discovery", "Determining Support", "Error Codes" and "Warnings". IDs such as
// end-3 and code-9 are those of its tables.

// TestConformance asks a node that reads everything from the registry.
func TestConformance(t *testing.T) {
	o := newOrigin(t)
	img := o.fill(t)
	conforms(t, o, run(t, settings(t, o)), img)
}

// TestConformanceOfPeersContent asks a node whose registry says who may have what and delivers
// nothing: every byte comes from the other node.
func TestConformanceOfPeersContent(t *testing.T) {
	o := newOrigin(t)
	img := o.fill(t)
	pair := runPair(t, o, nil)
	pair[0].pull(img)
	o.set(func() { o.gate = o.withhold })
	conforms(t, o, pair[1], img)
}

// A shelf is what the tests pull.
type shelf struct {
	image pushed
	index entry
}

// fill puts an image, an index, a list of tags and one of referrers into the origin.
func (o *origin) fill(t *testing.T) shelf {
	t.Helper()
	s := shelf{image: o.push(t, "team/app", "v1", 300_001, 70_000)}
	s.index = o.put("/v2/team/app/manifests/", ocispec.MediaTypeImageIndex, fmt.Appendf(nil,
		`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d,"platform":{"os":"linux","architecture":"amd64"}}]}`,
		ocispec.MediaTypeImageIndex, s.image.manifest.mediaType, s.image.manifest.digest, len(s.image.manifest.body)))
	o.set(func() {
		o.held["/v2/team/app/manifests/multi"] = s.index
		o.held["/v2/team/app/tags/list"] = entry{mediaType: "application/json", body: []byte(`{"name":"team/app","tags":["multi","v1"]}`)}
		o.held["/v2/team/app/referrers/"+s.image.manifest.digest] = entry{
			mediaType: ocispec.MediaTypeImageIndex, body: []byte(`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[]}`),
		}
	})
	return s
}

// pull has the node fetch and prove everything on the shelf.
func (n *node) pull(s shelf) {
	n.t.Helper()
	for _, tag := range []string{"multi", "v1"} {
		if a := n.ask("GET", "/v2/"+originName+"/team/app/manifests/"+tag); a.code != http.StatusOK {
			n.t.Fatalf("%s: %d %s", tag, a.code, a.body)
		}
	}
	for _, b := range s.image.blobs {
		if a := n.ask("GET", "/v2/"+originName+"/team/app/blobs/"+b.digest); !bytes.Equal(a.body, b.body) {
			n.t.Fatalf("%s: %d, %d bytes", b.digest, a.code, len(a.body))
		}
	}
}

// conforms goes through the specification, by both ways in which a client may name the registry.
func conforms(t *testing.T, o *origin, n *node, s shelf) {
	t.Helper()
	for _, c := range []struct{ prefix, query string }{
		{"/v2/" + originName + "/team/app", ""},
		{"/v2/team/app", "?ns=" + originName},
	} {
		ask := func(method, path string, header ...string) answered {
			return n.ask(method, c.prefix+path+c.query, header...)
		}
		t.Run(c.prefix, func(t *testing.T) {
			t.Run("Determining Support", func(t *testing.T) { determinesSupport(t, n) })
			t.Run("Pulling manifests", func(t *testing.T) { pullsManifests(t, ask, s) })
			t.Run("Pulling blobs", func(t *testing.T) { pullsBlobs(t, ask, s) })
			t.Run("Checking if content exists in the registry", func(t *testing.T) { checksContent(t, ask, s) })
			t.Run("Names", func(t *testing.T) { readsNames(t, ask) })
			t.Run("Error Codes", func(t *testing.T) { errsByTheTable(t, n) })
		})
	}
	o.set(func() { o.gate = nil })
	t.Run("Content Discovery", func(t *testing.T) { listsContent(t, o, n, s) })
	t.Run("Warnings", func(t *testing.T) { warnsByTheRule(t, o, n, s) })
}

type asking = func(method, path string, header ...string) answered

// end-1: GET /v2/ is answered 200.
func determinesSupport(t *testing.T, n *node) {
	t.Helper()
	if a := n.ask("GET", "/v2/"); a.code != http.StatusOK {
		t.Errorf("end-1: %d", a.code)
	}
}

// end-3, GET: "the expected manifest" with 200, under its own type without parameters, its digest
// in Docker-Content-Digest; 404 for another. By tag and by digest, an image and an index.
func pullsManifests(t *testing.T, ask asking, s shelf) {
	t.Helper()
	for ref, want := range map[string]entry{
		"v1": s.image.manifest, s.image.manifest.digest: s.image.manifest, "multi": s.index, s.index.digest: s.index,
	} {
		a := ask("GET", "/manifests/"+ref, "Accept", ocispec.MediaTypeImageIndex+", "+ocispec.MediaTypeImageManifest)
		if a.code != http.StatusOK || !bytes.Equal(a.body, want.body) {
			t.Errorf("end-3: GET %s: %d %s", ref, a.code, a.body)
		}
		wantHeaders(t, a, want, want.mediaType)
	}
	for _, ref := range []string{"none", nameOf([]byte("none"))} {
		if a := ask("GET", "/manifests/"+ref); a.code != http.StatusNotFound {
			t.Errorf("end-3: GET %s: %d, a manifest that is not there is 404", ref, a.code)
		}
	}
}

// wantHeaders checks what a successful response "SHOULD contain", and that the type has no parameters.
func wantHeaders(t *testing.T, a answered, want entry, mediaType string) {
	t.Helper()
	if got := a.header.Get("Docker-Content-Digest"); got != want.digest {
		t.Errorf("Docker-Content-Digest %q, want %s", got, want.digest)
	}
	if a.length != int64(len(want.body)) {
		t.Errorf("Content-Length %d, want %d", a.length, len(want.body))
	}
	if got := a.header.Get("Content-Type"); got != mediaType {
		t.Errorf("Content-Type %q, want %q", got, mediaType)
	}
}

// end-2, GET: "the expected blob" with 200, a digest "matching that of the response body", Range by RFC
// 9110, section 14; 404 for another.
func pullsBlobs(t *testing.T, ask asking, s shelf) {
	t.Helper()
	for _, want := range s.image.blobs {
		a := ask("GET", "/blobs/"+want.digest)
		if a.code != http.StatusOK || !bytes.Equal(a.body, want.body) {
			t.Fatalf("end-2: GET %s: %d, %d bytes", want.digest, a.code, len(a.body))
		}
		wantHeaders(t, a, want, "application/octet-stream")
	}
	layer := s.image.blobs[1]
	size := len(layer.body)
	for header, want := range map[string][2]int{
		"bytes=0-0": {0, 1}, "bytes=5-": {5, size}, "bytes=-7": {size - 7, size}, "bytes=100-299999": {100, 300_000},
		fmt.Sprintf("bytes=%d-", size-1): {size - 1, size}, fmt.Sprintf("bytes=0-%d", 10*size): {0, size},
	} {
		a := ask("GET", "/blobs/"+layer.digest, "Range", header)
		if a.code != http.StatusPartialContent || !bytes.Equal(a.body, layer.body[want[0]:want[1]]) {
			t.Errorf("Range %s: %d, %d bytes", header, a.code, len(a.body))
		}
		if got, want := a.header.Get("Content-Range"), fmt.Sprintf("bytes %d-%d/%d", want[0], want[1]-1, size); got != want {
			t.Errorf("Range %s: Content-Range %q, want %q", header, got, want)
		}
	}
	a := ask("GET", "/blobs/"+layer.digest, "Range", fmt.Sprintf("bytes=%d-", size))
	if a.code != http.StatusRequestedRangeNotSatisfiable || a.header.Get("Content-Range") != fmt.Sprintf("bytes */%d", size) {
		t.Errorf("a range past the end: %d, Content-Range %q", a.code, a.header.Get("Content-Range"))
	}
	if a := ask("GET", "/blobs/"+layer.digest, "Range", "lines=1-2"); a.code != http.StatusOK || len(a.body) != size {
		t.Errorf("an unknown unit: %d, %d bytes, want the whole", a.code, len(a.body))
	}
	if a := ask("GET", "/blobs/"+nameOf([]byte("none"))); a.code != http.StatusNotFound {
		t.Errorf("end-2: %d, a blob that is not there is 404", a.code)
	}
}

// end-2 and end-3, HEAD: 200 with digest and size, no body; 404 for another.
func checksContent(t *testing.T, ask asking, s shelf) {
	t.Helper()
	for path, want := range map[string]entry{
		"/manifests/v1": s.image.manifest, "/manifests/" + s.image.manifest.digest: s.image.manifest,
		"/manifests/multi": s.index, "/manifests/" + s.index.digest: s.index,
		"/blobs/" + s.image.blobs[0].digest: s.image.blobs[0], "/blobs/" + s.image.blobs[1].digest: s.image.blobs[1],
	} {
		a := ask("HEAD", path)
		if a.code != http.StatusOK || len(a.body) != 0 {
			t.Errorf("HEAD %s: %d, %d bytes", path, a.code, len(a.body))
		}
		mediaType := want.mediaType
		if strings.HasPrefix(path, "/blobs/") {
			mediaType = "application/octet-stream"
		}
		wantHeaders(t, a, want, mediaType)
	}
	for _, path := range []string{"/manifests/none", "/manifests/" + nameOf([]byte("none")), "/blobs/" + nameOf([]byte("none"))} {
		if a := ask("HEAD", path); a.code != http.StatusNotFound {
			t.Errorf("HEAD %s: %d, want 404", path, a.code)
		}
	}
}

// A reference "MUST NOT be in any other format" than a digest or a tag of at most 128 characters.
func readsNames(t *testing.T, ask asking) {
	t.Helper()
	longest := "_" + strings.Repeat("aA0._-", 21) + "z"
	for _, bad := range []string{longest + "z", ".tag", "-tag", "ta%20g", "sha256:abc", "sha256:" + strings.Repeat("A", 64), "sha256:"} {
		if a := ask("GET", "/manifests/"+bad); a.code != http.StatusNotFound {
			t.Errorf("reference %q: %d", bad, a.code)
		}
	}
	if a := ask("HEAD", "/manifests/"+longest); a.code != http.StatusNotFound || len(longest) != 128 {
		t.Errorf("a tag of %d characters that is not there: %d", len(longest), a.code)
	}
}

// errorCodes are code-1 to code-14.
var errorCodes = []string{
	"BLOB_UNKNOWN", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN", "MANIFEST_INVALID",
	"MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN", "SIZE_INVALID", "UNAUTHORIZED", "DENIED", "UNSUPPORTED", "TOOMANYREQUESTS",
}

// A 4XX body "in JSON format" has a list of errors, each with a code of the table. Pushing is refused so.
func errsByTheTable(t *testing.T, n *node) {
	t.Helper()
	in := "/v2/" + originName + "/team/app"
	for _, c := range []struct {
		method, path string
		code         int
	}{
		{"GET", in + "/manifests/none", 404},
		{"GET", in + "/blobs/" + nameOf([]byte("none")), 404},
		{"GET", in + "/blobs/tag", 404},
		{"GET", in + "/manifests/sha256:abc", 404},
		{"GET", "/v2/" + originName + "/Team/manifests/v1", 404},
		{"GET", "/v3/", 404},
		{"GET", in + "/manifests/v1?ns=a/b", 404},
		{"GET", in + "/referrers/sha256:abc", 400},
		{"GET", in + "/referrers/v1", 400},
		{"GET", in + "/" + strings.Repeat("a", 5000), 414},
		{"POST", in + "/blobs/uploads/", 405},
		{"PATCH", in + "/blobs/uploads/x", 405},
		{"PUT", in + "/manifests/v1", 405},
		{"DELETE", in + "/manifests/v1", 405},
		{"DELETE", in + "/blobs/" + nameOf(nil), 405},
	} {
		a := n.ask(c.method, c.path)
		var body struct {
			Errors []struct{ Code, Message string }
		}
		err := json.Unmarshal(a.body, &body)
		if a.code != c.code || err != nil || len(body.Errors) == 0 {
			t.Errorf("%s %.60s: %d %s (%v), want %d", c.method, c.path, a.code, a.body, err, c.code)
			continue
		}
		for _, e := range body.Errors {
			if !slices.Contains(errorCodes, e.Code) {
				t.Errorf("%s %.60s: code %q is not in the table", c.method, c.path, e.Code)
			}
		}
		if mediaType, _, err := mime.ParseMediaType(a.header.Get("Content-Type")); err != nil || mediaType != "application/json" {
			t.Errorf("%s %.60s: JSON under the type %q", c.method, c.path, a.header.Get("Content-Type"))
		}
	}
}

// end-8a and end-8b, end-12a and end-12b: what the registry lists, page by page through this server, and the
// filters that it applied.
func listsContent(t *testing.T, o *origin, n *node, s shelf) {
	t.Helper()
	in := "/v2/" + originName + "/team/app"
	a := n.ask("GET", in+"/tags/list")
	if a.code != http.StatusOK || string(a.body) != `{"name":"team/app","tags":["multi","v1"]}` {
		t.Errorf("end-8a: %d %s", a.code, a.body)
	}
	if a := n.ask("GET", "/v2/"+originName+"/no/such/tags/list"); a.code != http.StatusNotFound {
		t.Errorf("end-8a: %d for a repository that is not there", a.code)
	}
	a = n.ask("GET", in+"/referrers/"+s.image.manifest.digest)
	if a.code != http.StatusOK || a.header.Get("Content-Type") != ocispec.MediaTypeImageIndex || !json.Valid(a.body) {
		t.Errorf("end-12a: %d %v %s", a.code, a.header, a.body)
	}
	o.set(func() {
		o.gate = func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("OCI-Filters-Applied", "artifactType")
			w.Header().Set("Link", `<`+r.URL.Path+`?n=1&last=multi>; rel="next"`)
			w.Header().Set("X-Query", r.URL.RawQuery)
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(`{"query":"` + r.URL.RawQuery + `"}`))
			return true
		}
	})
	a = n.ask("GET", in+"/tags/list?n=1&last=a")
	if a.code != http.StatusOK || string(a.body) != `{"query":"last=a&n=1"}` || a.header.Get("Link") != `<`+in+`/tags/list?last=multi&n=1>; rel="next"` {
		t.Errorf("end-8b: %d %s, Link %q", a.code, a.body, a.header.Get("Link"))
	}
	a = n.ask("GET", in+"/referrers/"+s.image.manifest.digest+"?artifactType=a%2Fb")
	if a.code != http.StatusOK || string(a.body) != `{"query":"artifactType=a%2Fb"}` || a.header.Get("OCI-Filters-Applied") != "artifactType" {
		t.Errorf("end-12b: %d %s, filters %q", a.code, a.body, a.header.Get("OCI-Filters-Applied"))
	}
}

// Warnings have "a warn-code of 299 and a warn-agent of -", no date, and no more than 4096 bytes. This one is Shoal's own,
// while the registry is away.
func warnsByTheRule(t *testing.T, o *origin, n *node, s shelf) {
	t.Helper()
	o.set(func() {
		o.gate = func(w http.ResponseWriter, _ *http.Request) bool {
			refuse(w, http.StatusBadGateway, "UNAVAILABLE")
			return true
		}
	})
	a := n.ask("GET", "/v2/"+originName+"/team/app/manifests/v1")
	if a.code != http.StatusOK || !bytes.Equal(a.body, s.image.manifest.body) {
		t.Fatalf("%d %s", a.code, a.body)
	}
	warnings := a.header.Values("Warning")
	if len(warnings) != 1 || !regexp.MustCompile(`^299 - "[^"\\]+"$`).MatchString(warnings[0]) || len(warnings[0]) > 4096 {
		t.Errorf("Warning %q", warnings)
	}
}
