package proxy

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

// bearer makes the registry private: it wants one of the tokens, each good for the
// repositories with the prefix it is mapped to.
func (f *fakeRegistry) bearer(tokens map[string]string) {
	f.answer(func(w http.ResponseWriter, r *http.Request) bool {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		prefix, known := tokens[token]
		switch {
		case !known:
			w.Header().Add("WWW-Authenticate", `Bearer realm="https://auth.example/token",service="reg",scope="repository:x:pull"`)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = w.Write([]byte(`{"errors":[{"code":"UNAUTHORIZED","message":"upstream's own words"}]}`))
			return true
		case !strings.HasPrefix(r.URL.Path, "/v2/"+prefix):
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	})
}

// A challenge goes back as it came, and the token that answers it goes upstream as it came.
func TestBearer(t *testing.T) {
	k := newKit(t, nil)
	img := k.registry.push(testRepo, "v1", pattern(1, 5000))
	layer := digestOf(img.layers[0])
	k.registry.bearer(map[string]string{"good": testRepo})
	for _, path := range []string{"/manifests/v1", "/manifests/" + img.digest.String(), "/blobs/" + layer.String(), "/tags/list"} {
		for _, header := range [][]string{nil, {"Authorization", "Bearer bad"}} {
			for _, method := range []string{"HEAD", "GET"} {
				a := k.do(method, "/v2/"+testRepo+path, header...).want(t, 401)
				want := `Bearer realm="https://auth.example/token",service="reg",scope="repository:x:pull"`
				if got := a.header.Values("WWW-Authenticate"); len(got) != 1 || got[0] != want {
					t.Errorf("%s %s: challenge %q", method, path, got)
				}
				if method == "GET" && !strings.Contains(path, "blobs") && !strings.Contains(string(a.body), "upstream's own words") {
					t.Errorf("%s: body %q", path, a.body)
				}
			}
		}
	}
	good := []string{"Authorization", "Bearer good"}
	k.manifest("HEAD", "v1", good...).wantManifest(t, img.digest, len(img.manifest))
	k.manifest("GET", img.digest.String(), good...).want(t, 200)
	k.blobs.hold(img.layers[0])
	k.blob("GET", layer, good...).want(t, 200).wantBytes(t, img.layers[0])
	if got := k.blobs.startedBlobs()[layer].Source.Credential.Authorization(); got != "Bearer good" {
		t.Errorf("started with %q", got)
	}
}

// Two tenants: what the one pulled is here, and the other gets upstream's refusal, by tag, by
// digest and by blob, under its own name and under the first one's.
func TestTenantsAreApart(t *testing.T) {
	k := newKit(t, nil)
	a := k.registry.push("a/secret", "v1", pattern(1, 5000))
	k.registry.push("b/own", "v1", pattern(2, 5000))
	k.registry.bearer(map[string]string{"A": "a/", "B": "b/"})
	layer := digestOf(a.layers[0])
	k.blobs.hold(a.layers[0])
	asA, asB := []string{"Authorization", "Bearer A"}, []string{"Authorization", "Bearer B"}

	k.do("GET", "/v2/a/secret/manifests/v1", asA...).want(t, 200)
	k.do("GET", "/v2/a/secret/blobs/"+layer.String(), asA...).want(t, 200)
	k.do("GET", "/v2/b/own/manifests/v1", asB...).want(t, 200)
	for _, c := range []struct {
		as   []string
		want int
	}{{asB, 403}, {nil, 401}, {[]string{"Authorization", "Bearer C"}, 401}} {
		for _, path := range []string{"/manifests/v1", "/manifests/" + a.digest.String(), "/blobs/" + layer.String()} {
			k.do("GET", "/v2/a/secret"+path, c.as...).want(t, c.want)
			k.do("HEAD", "/v2/a/secret"+path, c.as...).want(t, c.want)
		}
	}
	// Under its own repository B has a grant, but upstream does not have the digest there.
	k.do("GET", "/v2/b/own/manifests/"+a.digest.String(), asB...).want(t, 404)
	k.registry.answer(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusNotFound) // the fake registry shares blobs between repositories
		return true
	})
	k.do("GET", "/v2/b/own/blobs/"+layer.String(), asB...).want(t, 404)
	k.do("HEAD", "/v2/b/own/blobs/"+layer.String(), asB...).want(t, 404)
	// And with upstream away it is no other.
	k.registry.status(503)
	k.do("GET", "/v2/b/own/manifests/"+a.digest.String(), asB...).want(t, 503)
	k.do("GET", "/v2/b/own/blobs/"+layer.String(), asB...).want(t, 503)
	k.do("GET", "/v2/a/secret/manifests/v1", asB...).want(t, 503)
	k.do("GET", "/v2/a/secret/blobs/"+layer.String(), asB...).want(t, 503)
	k.do("GET", "/v2/a/secret/blobs/"+layer.String()).want(t, 503)
	k.do("GET", "/v2/a/secret/blobs/"+layer.String(), asA...).want(t, 200)
}

// A grant ends: by time, and at once when upstream refuses the credential.
func TestGrantsEnd(t *testing.T) {
	k := newKit(t, func(c *Config, _ *Deps) { c.GrantTTL = time.Hour })
	img := k.registry.push(testRepo, "v1", pattern(1, 5000))
	as := []string{"Authorization", "Basic dXNlcjpwYXNz"}
	k.manifest("GET", "v1", as...).want(t, 200)
	k.registry.asked("")
	k.manifest("GET", img.digest.String(), as...).want(t, 200)
	if got := k.registry.asked(""); len(got) != 0 {
		t.Fatalf("under a grant upstream was asked %v", got)
	}
	k.registry.answer(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("WWW-Authenticate", `Basic realm="reg"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	k.manifest("HEAD", "v1", as...).want(t, 401)
	if a := k.manifest("GET", img.digest.String(), as...).want(t, 401); a.header.Get("WWW-Authenticate") != `Basic realm="reg"` {
		t.Errorf("challenge %q", a.header.Get("WWW-Authenticate"))
	}
	k.registry.status(503)
	k.manifest("GET", img.digest.String(), as...).want(t, 503)
	k.manifest("GET", "v1", as...).want(t, 503)

	short := newKit(t, func(c *Config, _ *Deps) { c.GrantTTL = time.Nanosecond })
	img = short.registry.push(testRepo, "v1", pattern(1, 5000))
	short.manifest("GET", "v1", as...).want(t, 200)
	short.registry.asked("")
	short.manifest("GET", img.digest.String(), as...).want(t, 200).wantBytes(t, img.manifest)
	if got := short.registry.asked(""); len(got) != 1 || !strings.HasPrefix(got[0], "HEAD") {
		t.Errorf("without a grant upstream was asked %v", got)
	}
}

func TestGrantsAreBounded(t *testing.T) {
	c := Config{MaxGrants: 2, MaxNamed: 2, MaxTags: 2}.withDefaults()
	g, err := newGrants(c)
	if err != nil {
		t.Fatal(err)
	}
	n, err := newNames(c)
	if err != nil {
		t.Fatal(err)
	}
	r := route{}
	for _, who := range []string{"a", "b", "c"} {
		g.accept(r.repo, g.id(who), KindManifest)
		n.learn(r.repo, digestOf([]byte(who)), name{Size: 1, Upstream: true})
	}
	if g.fresh(r.repo, g.id("a"), KindManifest) || !g.fresh(r.repo, g.id("c"), KindBlob) {
		t.Error("the oldest grant was not the one to go")
	}
	if _, ok := n.lookup(r.repo, digestOf([]byte("a")), false); ok {
		t.Error("the oldest name was not the one to go")
	}
	other, err := newGrants(c)
	if err != nil {
		t.Fatal(err)
	}
	if other.id("a") == g.id("a") {
		t.Error("two processes share a key")
	}
}

// What members say never stands in for what upstream showed, nor overwrites it.
func TestNamesTrust(t *testing.T) {
	n, err := newNames(Config{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	r, d := route{}.repo, digestOf([]byte("x"))
	n.learn(r, d, name{Size: 1})
	if _, ok := n.lookup(r, d, true); ok {
		t.Error("members' word is trusted")
	}
	n.learn(r, d, name{Size: -1, Upstream: true})
	if got, ok := n.lookup(r, d, true); !ok || got.Size != -1 {
		t.Errorf("%+v, %v: a size that members gave survives", got, ok)
	}
	n.learn(r, d, name{Size: 5, Image: digestOf(nil), Upstream: true})
	n.learn(r, d, name{Size: -1, Upstream: true})
	n.learn(r, d, name{Size: 9, Image: blob.Digest{1}})
	if got, ok := n.lookup(r, d, true); !ok || got.Size != 5 || got.Image != digestOf(nil) {
		t.Errorf("%+v, %v", got, ok)
	}
}
