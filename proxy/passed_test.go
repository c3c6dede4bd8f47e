package proxy

import (
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// Other algorithms than SHA-256 cannot be proven in chunks: upstream's bytes pass as they come.
func TestBlobOtherAlgorithm(t *testing.T) {
	k := newKit(t, nil)
	p := pattern(1, 500_000)
	sum := sha512.Sum512(p)
	path := "/v2/" + testRepo + "/blobs/sha512:" + hex.EncodeToString(sum[:])
	k.registry.answer(blobAnswer(p))
	a := k.do("GET", path).want(t, 200).wantBytes(t, p)
	if a.length != 500_000 || !strings.HasPrefix(a.header.Get("Docker-Content-Digest"), "sha512:") {
		t.Errorf("headers %v", a.header)
	}
	k.do("HEAD", path).want(t, 200)
	a = k.do("GET", path, "Range", "bytes=100-").want(t, 206).wantBytes(t, p[100:])
	if a.header.Get("Content-Range") != "bytes 100-499999/500000" {
		t.Errorf("range %v", a.header)
	}

	k.registry.answer(func(w http.ResponseWriter, _ *http.Request) bool { // ends early
		w.Header().Set("Content-Length", "500000")
		_, _ = w.Write(p[:400_000])
		return true
	})
	if a := k.do("GET", path); !errors.Is(a.err, io.ErrUnexpectedEOF) {
		t.Errorf("a short body: %v after %d bytes, want a cut", a.err, len(a.body))
	}
	k.registry.answer(func(w http.ResponseWriter, _ *http.Request) bool { // another offset
		w.Header().Set("Content-Range", "bytes 0-9/500000")
		w.Header().Set("Content-Length", "10")
		w.WriteHeader(206)
		_, _ = w.Write(p[:10])
		return true
	})
	k.do("GET", path, "Range", "bytes=100-109").want(t, 503)
	for status, want := range map[int]int{401: 401, 403: 403, 404: 404, 416: 416, 429: 503, 500: 503} {
		k.registry.status(status)
		k.do("GET", path).want(t, want)
		k.do("HEAD", path).want(t, want)
	}
}

// An upstream that does not say how long a blob is gets its answer passed on.
func TestBlobWithoutLength(t *testing.T) {
	k := newKit(t, nil)
	p := pattern(1, 200_000)
	k.registry.answer(func(w http.ResponseWriter, _ *http.Request) bool {
		_ = http.NewResponseController(w).Flush()
		_, _ = w.Write(p)
		return true
	})
	k.blob("GET", digestOf(p)).want(t, 200).wantBytes(t, p)
	k.blob("HEAD", digestOf(p)).want(t, 200)

	k.registry.answer(func(w http.ResponseWriter, r *http.Request) bool {
		_ = http.NewResponseController(w).Flush()
		if r.Method == http.MethodGet {
			_, _ = w.Write(p[:100_000])
			panic(http.ErrAbortHandler)
		}
		return true
	})
	if a := k.blob("GET", digestOf(p)); !errors.Is(a.err, io.ErrUnexpectedEOF) {
		t.Errorf("a cut body of no known length ended with %v", a.err)
	}
}

func TestLists(t *testing.T) {
	k := newKit(t, nil)
	k.registry.push(testRepo, "v1", pattern(1, 50))
	k.registry.push(testRepo, "v2", pattern(2, 50))
	a := k.do("GET", "/v2/"+testRepo+"/tags/list?n=1&ns=reg.example%3A5000").want(t, 200)
	if !strings.Contains(string(a.body), `"v1"`) || strings.Contains(string(a.body), `"v2"`) {
		t.Errorf("tags %s", a.body)
	}
	k.registry.answer(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Link", `</v2/team/app/tags/list?last=v1&n=1>; rel="next"`)
		_, _ = w.Write([]byte(`{"tags":["v1"]}`))
		return true
	})
	a = k.do("GET", "/v2/"+testRepo+"/tags/list?n=1&ns=reg.example%3A5000").want(t, 200)
	if got, want := a.header.Get("Link"), `</v2/team/app/tags/list?last=v1&n=1&ns=reg.example%3A5000>; rel="next"`; got != want {
		t.Errorf("Link %q, want %q", got, want)
	}
	k.registry.answer(nil)
	a = k.do("GET", "/v2/"+testRepo+"/referrers/"+someDigest).want(t, 200)
	if !strings.Contains(string(a.body), "manifests") {
		t.Errorf("referrers %s", a.body)
	}
	k.registry.status(429)
	k.do("GET", "/v2/"+testRepo+"/tags/list").want(t, 503)
}
