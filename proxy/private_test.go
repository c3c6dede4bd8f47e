package proxy

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/upstream"
)

// as is the header of a client with this bearer token.
func as(token string) []string { return []string{"Authorization", "Bearer " + token} }

// isolate makes the registry private, and no blob of one repository is in another: the
// registry of the tests shares them all.
func (f *fakeRegistry) isolate(tokens map[string]string, images ...image) {
	f.bearer(tokens)
	private := f.hook
	owned := map[string]bool{}
	for _, img := range images {
		for _, p := range append(slices.Clone(img.layers), img.config) {
			owned["/v2/"+img.repo+"/blobs/"+digestOf(p).String()] = true
		}
	}
	f.answer(func(w http.ResponseWriter, r *http.Request) bool {
		if private(w, r) {
			return true
		}
		if strings.Contains(r.URL.Path, "/blobs/") && !owned[r.URL.Path] {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		return false
	})
}

// Two tenants with a layer in common: each has its own image whole, the common layer once in
// the store, and nothing else of the other's, by any of the paths that lead to it.
func TestCommonLayer(t *testing.T) {
	for _, ttl := range []time.Duration{time.Minute, time.Nanosecond} {
		k := newKit(t, func(c *Config, _ *Deps) { c.GrantTTL = ttl })
		common := pattern(1, 5000)
		a := k.registry.push("a/app", "v1", common, pattern(2, 5000))
		b := k.registry.push("b/app", "v1", common, pattern(3, 5000))
		k.registry.isolate(map[string]string{"A": "a/", "B": "b/"}, a, b)
		for _, p := range append(slices.Clone(a.layers), b.layers[1], a.config, b.config) {
			k.blobs.hold(p)
		}
		tenants := []struct {
			img, other image
			as         []string
		}{{a, b, as("A")}, {b, a, as("B")}}
		for _, one := range tenants {
			k.do("GET", "/v2/"+one.img.repo+"/manifests/v1", one.as...).want(t, 200).wantBytes(t, one.img.manifest)
			for _, p := range append(slices.Clone(one.img.layers), one.img.config) {
				k.do("GET", "/v2/"+one.img.repo+"/blobs/"+digestOf(p).String(), one.as...).want(t, 200).wantBytes(t, p)
			}
		}
		for _, one := range tenants {
			for _, method := range []string{"HEAD", "GET"} {
				for path, want := range map[string]int{
					one.other.repo + "/manifests/v1":                                  403,
					one.other.repo + "/manifests/" + one.other.digest.String():        403,
					one.other.repo + "/blobs/" + digestOf(common).String():            403,
					one.other.repo + "/tags/list":                                     403,
					one.img.repo + "/manifests/" + one.other.digest.String():          404,
					one.img.repo + "/blobs/" + digestOf(one.other.config).String():    404,
					one.img.repo + "/blobs/" + digestOf(one.other.layers[1]).String(): 404,
				} {
					k.do("GET", "/v2/a/app/manifests/v1", as("A")...).want(t, 200) // a moment ago each was let in
					k.do("GET", "/v2/b/app/manifests/v1", as("B")...).want(t, 200)
					k.do(method, "/v2/"+path, one.as...).want(t, want)
				}
			}
		}
	}
}

// The peeking Store counts what is looked for in it.
type peekingStore struct {
	*memStore
	looks int
}

func (s *peekingStore) Bytes(d blob.Digest, limit blob.ByteCount) ([]byte, error) {
	s.looks++
	return s.memStore.Bytes(d, limit)
}

func (s *peekingStore) Size(d blob.Digest) (blob.ByteCount, error) {
	s.looks++
	return s.memStore.Size(d)
}

// A stranger learns nothing about what is here: whether somebody pulled the private image
// through this node or nobody did, it gets the same answers after the same questions to upstream
// and no look into the store, which is what an answer's time is made of.
func TestStrangersSeeNoDifference(t *testing.T) {
	refusals := map[string]func(w http.ResponseWriter){
		"401": func(w http.ResponseWriter) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="https://auth.example/token"`)
			w.WriteHeader(401)
		},
		"403": func(w http.ResponseWriter) { w.WriteHeader(403) },
		"404": func(w http.ResponseWriter) { w.WriteHeader(404) },
		"405": func(w http.ResponseWriter) { w.WriteHeader(405) },
		"503": func(w http.ResponseWriter) { w.WriteHeader(503) }, // out of reach
	}
	for how, refuse := range refusals {
		for _, members := range []bool{false, true} {
			t.Run(fmt.Sprint(how, ", members: ", members), func(t *testing.T) {
				var seen [2][]string
				for i, cached := range []bool{false, true} {
					store := &peekingStore{memStore: &memStore{held: map[blob.Digest][]byte{}}}
					k := newKit(t, func(_ *Config, d *Deps) {
						if d.Store = store; members {
							d.Members = &fakeMembers{}
						}
					})
					img := k.registry.push(testRepo, "v1", pattern(1, 5000))
					if cached {
						k.manifest("GET", "v1", as("owner")...).want(t, 200)
						k.blobs.hold(img.layers[0])
						k.blob("GET", digestOf(img.layers[0]), as("owner")...).want(t, 200)
						if err := store.PutBytes(digestOf(img.layers[0]), img.layers[0]); err != nil {
							t.Fatal(err)
						}
					}
					k.registry.answer(func(w http.ResponseWriter, _ *http.Request) bool { refuse(w); return true })
					k.registry.asked("")
					store.looks = 0
					for _, who := range [][]string{nil, as("stranger")} {
						for _, path := range []string{"/manifests/v1", "/manifests/" + img.digest.String(), "/blobs/" + digestOf(img.layers[0]).String()} {
							for _, method := range []string{"HEAD", "GET"} {
								a := k.do(method, "/v2/"+testRepo+path, who...)
								a.header.Del("Date")
								seen[i] = append(seen[i], fmt.Sprint(method, path, a.code, a.header, string(a.body), k.registry.asked("")))
							}
						}
					}
					if store.looks != 0 {
						t.Errorf("cached %v: the store was looked into %d times", cached, store.looks)
					}
				}
				for i, without := range seen[0] {
					if seen[1][i] != without {
						t.Errorf("with nothing here:\n\t%s\nwith the image here:\n\t%s", without, seen[1][i])
					}
				}
			})
		}
	}
}

// Where HEAD is no answer, GET is, from upstream itself: an address that it once redirected to stays
// good for an hour, and must not let in whom upstream refuses by now.
func TestRevokedWhereHeadIsForbidden(t *testing.T) {
	layer := pattern(1, 5000)
	cdn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusForbidden) // the signature is good for GET
			return
		}
		blobAnswer(layer)(w, r)
	}))
	t.Cleanup(cdn.Close)
	k := newKit(t, func(c *Config, _ *Deps) { c.GrantTTL = time.Nanosecond })
	d := digestOf(layer)
	k.registry.push(testRepo, "v1", layer)
	k.manifest("GET", "v1", as("x")...).want(t, 200)
	k.blobs.hold(layer)
	revoked := false
	k.registry.answer(func(w http.ResponseWriter, r *http.Request) bool {
		if revoked {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte("revoked, says upstream"))
			return true
		}
		http.Redirect(w, r, cdn.URL+"/blobs/signed", http.StatusTemporaryRedirect)
		return true
	})
	k.blob("GET", d, as("x")...).want(t, 200).wantBytes(t, layer)
	// The engine has read the blob from there meanwhile, and its client remembers the address.
	src := k.blobs.snapshot()[0].Source
	body, err := k.proxy.deps.Upstream.ReadBlob(t.Context(), src, d, blob.ByteCount(len(layer)), 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	_ = body.Close()
	revoked = true
	if a := k.blob("GET", d, as("x")...).want(t, 403); string(a.body) != "revoked, says upstream" {
		t.Errorf("body %q", a.body)
	}
	k.registry.status(503)
	k.blob("GET", d, as("x")...).want(t, 503)
	// A blob that no manifest named is found in the same way, its size included.
	revoked = false
	k.registry.answer(func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, cdn.URL+"/blobs/signed", http.StatusTemporaryRedirect)
		return true
	})
	a := k.do("GET", "/v2/another/app/blobs/"+d.String(), as("x")...).want(t, 200).wantBytes(t, layer)
	if a.length != int64(len(layer)) {
		t.Errorf("length %d", a.length)
	}
}

// Registries that hide what they refuse answer 404. After one for what upstream showed before,
// the credential has nothing left here, not even while upstream is away.
func TestHiddenRepository(t *testing.T) {
	for what, path := range map[string]func(image) string{
		"tag":      func(image) string { return "/manifests/v1" },
		"manifest": func(img image) string { return "/manifests/" + img.digest.String() },
		"blob":     func(img image) string { return "/blobs/" + digestOf(img.layers[0]).String() },
	} {
		for _, who := range [][]string{as("x"), nil} {
			k := newKit(t, func(c *Config, _ *Deps) { c.GrantTTL = time.Nanosecond })
			img := k.registry.push(testRepo, "v1", pattern(1, 5000))
			k.blobs.hold(img.layers[0])
			k.manifest("GET", "v1", who...).want(t, 200)
			k.manifest("GET", "v1", as("other")...).want(t, 200)
			if who == nil {
				k.proxy.grants.letIn(repository, time.Now()) // a probe found it public, too
			}
			k.registry.status(404)
			k.do("GET", "/v2/"+testRepo+path(img), who...).want(t, 404)
			k.registry.status(503)
			for _, path := range []string{"/manifests/v1", "/manifests/" + img.digest.String(), "/blobs/" + digestOf(img.layers[0]).String()} {
				if a := k.do("GET", "/v2/"+testRepo+path, who...); a.code != 503 {
					t.Errorf("hidden by %s from %v: %s answers %d", what, who, path, a.code)
				}
			}
			// It says nothing about others.
			k.manifest("GET", img.digest.String(), as("other")...).want(t, 200)
		}
		// A 404 for what never was says nothing at all.
		k := newKit(t, nil)
		img := k.registry.push(testRepo, "v1", pattern(1, 5000))
		k.manifest("GET", "v1", as("x")...).want(t, 200)
		k.manifest("GET", "v2", as("x")...).want(t, 404)
		k.registry.status(503)
		k.manifest("GET", img.digest.String(), as("x")...).want(t, 200)
	}
}

// Registries take a manifest without looking for its foreign layers. Naming another tenant's layer
// as one does not open it.
func TestForeignLayerNamesNothing(t *testing.T) {
	k := newKit(t, nil)
	a := k.registry.push("a/app", "v1", pattern(1, 5000))
	b := k.registry.push("b/app", "v1", pattern(2, 5000))
	k.registry.isolate(map[string]string{"A": "a/", "B": "b/"}, a, b)
	k.do("GET", "/v2/a/app/manifests/v1", as("A")...).want(t, 200)
	stolen := digestOf(a.layers[0])
	k.blobs.hold(a.layers[0])
	for _, layer := range []string{
		`{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":%q,"size":5000}`,
		`{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":5000,"urls":["https://elsewhere.example/x"]}`,
	} {
		body := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"x/y","digest":%q,"size":%d},"layers":[`+layer+`]}`,
			ocispec.MediaTypeImageManifest, digestOf(b.config), len(b.config), stolen)
		k.registry.put("/v2/b/app/manifests/theft", ocispec.MediaTypeImageManifest, body)
		k.do("GET", "/v2/b/app/manifests/theft", as("B")...).want(t, 200)
		k.do("GET", "/v2/b/app/blobs/"+stolen.String(), as("B")...).want(t, 404)
	}
}

// What upstream says in the middle of a download holds for the next request of the same client too.
func TestRefusedDownloadEndsTheGrant(t *testing.T) {
	for _, refusal := range []int{401, 403, 404} {
		k := newKit(t, nil)
		layer := pattern(1, 500_000)
		img := k.registry.push(testRepo, "v1", layer)
		d := digestOf(layer)
		k.manifest("GET", "v1", as("x")...).want(t, 200)
		k.blobs.update(func() {
			k.blobs.content[d], k.blobs.rows[d] = layer, 200_000
			k.blobs.failed[d] = &upstream.StatusError{Code: refusal}
		})
		if a := k.blob("GET", d, as("x")...); a.code != 200 || a.err == nil {
			t.Errorf("%d: %d, %v", refusal, a.code, a.err)
		}
		k.registry.status(refusal)
		k.manifest("GET", img.digest.String(), as("x")...).want(t, refusal)
		k.blob("GET", d, as("x")...).want(t, refusal)
		k.registry.status(503)
		k.blob("GET", d, as("x")...).want(t, 503)
	}
}

// Some registries guard their manifests and leave their blobs open to whoever knows a digest. What
// opened a blob opens no manifest, neither now nor while the registry is away, and makes nothing public.
func TestABlobOpensNoManifest(t *testing.T) {
	for _, who := range [][]string{nil, as("stranger")} {
		k := newKit(t, nil)
		img := k.registry.push(testRepo, "v1", pattern(1, 5000))
		layer := digestOf(img.layers[0])
		k.blobs.hold(img.layers[0])
		k.registry.answer(func(w http.ResponseWriter, r *http.Request) bool {
			guarded := strings.Contains(r.URL.Path, "/manifests/") && r.Header.Get("Authorization") != "Bearer owner"
			if guarded {
				w.WriteHeader(http.StatusForbidden)
			}
			return guarded
		})
		k.manifest("GET", "v1", as("owner")...).want(t, 200)
		k.blob("GET", layer, who...).want(t, 200)
		k.manifest("GET", img.digest.String(), who...).want(t, 403)
		k.blob("GET", layer, who...).want(t, 200)
		if said, _ := k.proxy.Lookup(repository, upstream.DigestReference(img.digest)); said.Public {
			t.Error("called public")
		}
		k.registry.status(503)
		k.manifest("GET", img.digest.String(), who...).want(t, 503)
		k.manifest("GET", "v1", who...).want(t, 503)
	}
}
