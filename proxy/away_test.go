package proxy

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

// lateFor is a latency at which a failure is no cheap one.
const lateFor = slowFailure + 10*time.Millisecond

// The ways in which one request to a registry fails though the registry is there. A client brings
// about each of them, by what it asks for or how often.
var failures = map[string]func(w http.ResponseWriter, r *http.Request){
	"408":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(408) },
	"429":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) },
	"500":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
	"503":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) },
	"504 late": func(w http.ResponseWriter, _ *http.Request) { <-time.After(lateFor); w.WriteHeader(504) },
	"no answer": func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
	},
	"cut late": func(http.ResponseWriter, *http.Request) { <-time.After(lateFor); panic(http.ErrAbortHandler) },
	"cut short": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "5000")
		_, _ = w.Write(make([]byte, 100))
		_ = http.NewResponseController(w).Flush()
		<-time.After(lateFor)
		panic(http.ErrAbortHandler)
	},
	"too long": func(w http.ResponseWriter, _ *http.Request) {
		<-time.After(lateFor)
		for range maxList/blob.MiB + 1 {
			if _, err := w.Write(make([]byte, blob.MiB)); err != nil {
				return
			}
		}
	},
	"said to be too long": func(w http.ResponseWriter, _ *http.Request) {
		<-time.After(lateFor)
		w.Header().Set("Content-Length", strconv.Itoa(int(maxList)+1))
		_ = http.NewResponseController(w).Flush()
	},
	"encoded": func(w http.ResponseWriter, _ *http.Request) {
		<-time.After(lateFor)
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write([]byte("x"))
	},
	"redirected in a circle": func(w http.ResponseWriter, r *http.Request) {
		<-time.After(lateFor / 10)
		http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
	},
	"redirected to nobody": func(w http.ResponseWriter, r *http.Request) {
		<-time.After(lateFor)
		http.Redirect(w, r, "http://127.0.0.1:1/signed", http.StatusTemporaryRedirect)
	},
	"redirected astray": func(w http.ResponseWriter, r *http.Request) {
		<-time.After(lateFor)
		http.Redirect(w, r, "ftp://elsewhere.example/x", http.StatusTemporaryRedirect)
	},
}

// headless has what is wrong with a body be no answer to HEAD, which has none.
func headless(how string, fails http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead && slices.Contains([]string{"cut short", "too long", "said to be too long"}, how) {
			failures["504 late"](w, r)
			return
		}
		fails(w, r)
	}
}

// No client can make a registry that is there seem away, neither for others nor for itself. What a credential may
// is then the registry's word of now, a tag is what it means now, and nobody is sent away.
func TestNoClientMakesAnOutage(t *testing.T) {
	others := []string{
		"/tags/list", "/referrers/" + someDigest, "/manifests/provoked", "/manifests/" + someDigest,
		"/blobs/" + someDigest, "/blobs/sha512:" + strings.Repeat("ab", 64),
	}
	for how, fails := range failures {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newPipedKit(t, func(c *Config, d *Deps) { c.GrantTTL, d.Members = time.Nanosecond, &fakeMembers{} })
				img := k.registry.push(testRepo, "v1", pattern(1, 5000))
				k.blobs.hold(img.layers[0])
				k.manifest("GET", "v1", as("revoked")...).want(t, 200)
				k.manifest("GET", "v1", as("good")...).want(t, 200)
				<-time.After(time.Second)
				moved := k.registry.push(testRepo, "v1", pattern(2, 5000))
				k.registry.bearer(map[string]string{"good": testRepo})
				private, fails := k.registry.hook, headless(how, fails)
				own := []string{"/manifests/v1", "/manifests/" + img.digest.String(), "/blobs/" + digestOf(img.layers[0]).String()}

				k.registry.answer(func(w http.ResponseWriter, r *http.Request) bool {
					if !slices.ContainsFunc(others, func(path string) bool { return strings.HasSuffix(r.URL.Path, path) }) {
						return private(w, r) // also to GET /v2/, which is 401
					}
					fails(w, r)
					return true
				})
				for _, path := range others {
					if a := k.do("GET", "/v2/"+testRepo+path, as("revoked")...); a.code == 200 && !strings.Contains(path, "sha512") {
						t.Errorf("%s: %d", path, a.code)
					}
					for _, path := range own {
						k.do("GET", "/v2/"+testRepo+path, as("revoked")...).want(t, 401)
					}
					a := k.manifest("HEAD", "v1", as("good")...).wantManifest(t, moved.digest, len(moved.manifest))
					if a.header.Get("Warning") != "" {
						t.Errorf("%s made the tag stale", path)
					}
				}
				// The very requests of the credential fail, before it is known to be revoked.
				k.proxy.grants.accept(repository, k.proxy.grants.id("Bearer revoked"), KindManifest)
				<-time.After(time.Second)
				k.registry.answer(func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path != "/v2/" {
						fails(w, r)
					}
					return r.URL.Path != "/v2/"
				})
				for _, path := range own {
					for _, method := range []string{"HEAD", "GET"} {
						k.do(method, "/v2/"+testRepo+path, as("revoked")...).want(t, 503)
					}
				}
			})
		})
	}
}

// A request that is not passed on is refused, and nothing served in its place.
func TestOwnFaultIsNoOutage(t *testing.T) {
	k := newKit(t, func(c *Config, _ *Deps) { c.GrantTTL = time.Nanosecond })
	img := k.registry.push(testRepo, "v1", pattern(1, 5000))
	k.manifest("GET", "v1", as("revoked")...).want(t, 200)
	k.registry.bearer(nil)
	header := append(as("revoked"), "Accept", strings.Repeat("a", 17<<10))
	k.manifest("GET", "v1", header...).want(t, 400)
	k.manifest("GET", img.digest.String(), header...).want(t, 400)
}

// A registry that is down for one path only is there: what it does not say is 503 at once, so that
// containerd goes on to its next host, and every other path is asked for as ever.
func TestOnePathDown(t *testing.T) {
	k := newKit(t, nil)
	img := k.registry.push(testRepo, "v1", pattern(1, 5000))
	k.manifest("GET", "v1").want(t, 200)
	k.registry.answer(func(w http.ResponseWriter, r *http.Request) bool {
		down := strings.HasSuffix(r.URL.Path, "/manifests/v1")
		if down {
			w.WriteHeader(502)
		}
		return down
	})
	k.registry.asked("")
	for range 3 {
		a := k.manifest("HEAD", "v1").want(t, 503)
		if a.header.Get("Docker-Content-Digest") != "" {
			t.Errorf("headers %v", a.header)
		}
	}
	if got := k.registry.asked("GET"); len(got) != 1 || got[0] != "GET /v2/" {
		t.Errorf("it was looked for by %v, want once", got)
	}
	k.manifest("HEAD", img.digest.String()).want(t, 200)
	a := k.manifest("GET", "v1").want(t, 503)
	if !strings.Contains(string(a.body), "Upstream is there") {
		t.Errorf("body %s", a.body)
	}
}

// Of many that wonder at once one looks, the others wait for what it sees, and one that leaves decides nothing.
func TestSightings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sightings
		looks := 0
		look := func(away, slow bool, lasts time.Duration) func() sighting {
			return func() sighting {
				<-time.After(time.Second)
				looks++
				return sighting{away: away, slow: slow, until: time.Now().Add(lasts)}
			}
		}
		seen := make(chan bool, 10)
		for range 10 {
			go func() { seen <- s.away(t.Context(), "a", look(true, true, time.Hour)) }()
		}
		synctest.Wait()
		left, leave := context.WithCancel(t.Context())
		leave()
		if s.away(left, "a", nil) || s.down("a") {
			t.Error("somebody who left, or does not wait, knows what is still being found out")
		}
		for range 10 {
			if !<-seen {
				t.Error("it is away, and seems there")
			}
		}
		if looks != 1 || !s.down("a") || s.down("b") {
			t.Errorf("%d looks", looks)
		}
		s.answered("a")
		if s.down("a") {
			t.Error("it answered, and counts as away")
		}
		if s.away(t.Context(), "a", look(false, false, time.Hour)) || !s.away(t.Context(), "b", look(true, false, time.Minute)) || looks != 3 {
			t.Errorf("%d looks", looks)
		}
		s.answered("a")
		if s.away(t.Context(), "a", nil) || s.down("b") {
			t.Error("who is there is looked for again, or who is refused at once is not asked")
		}
		<-time.After(time.Minute)
		if s.away(t.Context(), "b", look(false, false, time.Hour)) {
			t.Error("what was seen counts for ever")
		}
		for i := range 3 * maxSightings {
			s.away(t.Context(), fmt.Sprint(i), look(true, true, time.Hour))
		}
		if len(s.last) > maxSightings {
			t.Errorf("%d registries remembered", len(s.last))
		}
	})
}
