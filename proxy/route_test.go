package proxy

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/shoal-project/shoal/pkg/upstream"
)

const someDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestParseRoute(t *testing.T) {
	for _, c := range []struct {
		target string
		kind   Kind
		repo   string // "" for a target that is not served
		ref    string
		code   string
		status int // 0 for 404
	}{
		{target: "/v2/", kind: KindPing, repo: "/"},
		{target: "/v2", kind: KindPing, repo: "/"},
		{target: "/v2/?ns=docker.io", kind: KindPing, repo: "/"},
		// ns names the registry, port encoded or not, and leaves the path alone.
		{target: "/v2/library/nginx/manifests/1.27?ns=docker.io", kind: KindManifest, repo: "docker.io/library/nginx", ref: "1.27"},
		{target: "/v2/a/b/blobs/" + someDigest + "?ns=reg%3A5000", kind: KindBlob, repo: "reg:5000/a/b", ref: someDigest},
		{target: "/v2/a/b/blobs/" + someDigest + "?ns=Reg.Example:5000", kind: KindBlob, repo: "reg.example:5000/a/b", ref: someDigest},
		{target: "/v2/nginx/manifests/latest?ns=docker.io", kind: KindManifest, repo: "docker.io/nginx", ref: "latest"},
		{target: "/v2/my.app/x/manifests/latest?ns=ghcr.io", kind: KindManifest, repo: "ghcr.io/my.app/x", ref: "latest"},
		{target: "/v2/x/y/tags/list?ns=registry-1.docker.io&n=5", kind: KindTags, repo: "docker.io/x/y"},
		// The first component names it.
		{target: "/v2/ghcr.io/o/r/manifests/v1", kind: KindManifest, repo: "ghcr.io/o/r", ref: "v1"},
		{target: "/v2/localhost/o/manifests/v1", kind: KindManifest, repo: "localhost/o", ref: "v1"},
		{target: "/v2/reg:5000/o/manifests/v1", kind: KindManifest, repo: "reg:5000/o", ref: "v1"},
		{target: "/v2/reg%3A5000/o/manifests/v1", kind: KindManifest, repo: "reg:5000/o", ref: "v1"},
		{target: "/v2/[::1]:5000/o/manifests/v1", kind: KindManifest, repo: "[::1]:5000/o", ref: "v1"},
		{target: "/v2/docker.io/nginx/manifests/v1", kind: KindManifest, repo: "docker.io/library/nginx", ref: "v1"},
		{target: "/v2/docker.io/library/nginx/referrers/" + someDigest, kind: KindReferrers, repo: "docker.io/library/nginx", ref: someDigest},
		// Nobody names it: docker.io.
		{target: "/v2/library/nginx/manifests/v1", kind: KindManifest, repo: "docker.io/library/nginx", ref: "v1"},
		{target: "/v2/nginx/manifests/v1", kind: KindManifest, repo: "docker.io/library/nginx", ref: "v1"},
		// Names that hold the words of the paths.
		{target: "/v2/o/manifests/blobs/manifests/tags", kind: KindManifest, repo: "docker.io/o/manifests/blobs", ref: "tags"},
		{target: "/v2/o/tags/manifests/list", kind: KindManifest, repo: "docker.io/o/tags", ref: "list"},
		{target: "/v2/o/tags/tags/list", kind: KindTags, repo: "docker.io/o/tags"},
		{target: "/v2/o/r/blobs/sha512:" + strings.Repeat("ab", 64), kind: KindBlob, repo: "docker.io/o/r", ref: "sha512:" + strings.Repeat("ab", 64)},

		{target: "/", code: "NAME_UNKNOWN"},
		{target: "/v1/_ping", code: "NAME_UNKNOWN"},
		{target: "/v2/_catalog", code: "NAME_UNKNOWN"},
		{target: "/v2/manifests/latest", code: "NAME_UNKNOWN"},
		{target: "/v2//manifests/latest", code: "NAME_UNKNOWN"},
		{target: "/v2/o/r/blobs/uploads/", code: "NAME_UNKNOWN"},
		{target: "/v2/o/r/blobs/latest", code: "DIGEST_INVALID"},
		{target: "/v2/o/r/referrers/latest", code: "DIGEST_INVALID", status: 400},
		{target: "/v2/o/r/referrers/sha256:abc", code: "DIGEST_INVALID", status: 400},
		{target: "/v2/o/r/manifests/", code: "MANIFEST_UNKNOWN"},
		{target: "/v2/o/r/manifests/-x", code: "MANIFEST_UNKNOWN"},
		{target: "/v2/o/r/manifests/sha256:abc", code: "MANIFEST_UNKNOWN"},
		{target: "/v2/o/r/manifests/" + strings.ToUpper(someDigest), code: "MANIFEST_UNKNOWN"},
		{target: "/v2/O/r/manifests/v1", code: "NAME_INVALID"},
		{target: "/v2/o/../r/manifests/v1", code: "NAME_INVALID"},
		{target: "/v2/o/%2e%2e/manifests/v1", code: "NAME_INVALID"},
		{target: "/v2/o/r%00/manifests/v1", code: "NAME_INVALID"},
		{target: "/v2/o/r/manifests/v1?ns=", code: "NAME_INVALID"},
		{target: "/v2/o/r/manifests/v1?ns=a/b", code: "NAME_INVALID"},
		{target: "/v2/o/r/manifests/v1?ns=user@host", code: "NAME_INVALID"},
		{target: "/v2/o/r/manifests/v1?ns=a.io&ns=b.io", code: "NAME_INVALID"},
		{target: "/v2/o/r/manifests/v1?ns=%zz", code: "NAME_INVALID"},
		{target: "/v2/reg.io:99999/r/manifests/v1", code: "NAME_INVALID"},
		{target: "/v2/" + strings.Repeat("a", 256) + "/manifests/v1", code: "NAME_INVALID"},
	} {
		u, err := url.Parse(c.target)
		if err != nil {
			t.Fatal(err)
		}
		got, fail := parseRoute(u, Config{}.withDefaults())
		if c.code != "" {
			if c.status == 0 {
				c.status = 404
			}
			if fail == nil || fail.Code != c.code || fail.Status != c.status {
				t.Errorf("%s: %+v, %+v, want %s", c.target, got, fail, c.code)
			}
			continue
		}
		if fail != nil || got.kind != c.kind || got.repo.String() != c.repo || got.ref.String() != c.ref {
			t.Errorf("%s: %+v, %v", c.target, got, fail)
		}
	}
}

// Whatever is served has names that follow their grammars, and its meaning survives being
// written out in the form that names the registry in the path.
func FuzzParseRoute(f *testing.F) {
	for _, seed := range []string{
		"/v2/", "/v2/library/nginx/manifests/1.27?ns=docker.io", "/v2/ghcr.io/o/r/blobs/" + someDigest,
		"/v2/reg%3A5000/o/tags/list?n=3&last=x", "/v2/[::1]:5000/o/referrers/" + someDigest, "/v2/a/../b/manifests/x?ns=%31",
	} {
		f.Add(seed)
	}
	config := Config{}.withDefaults()
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.Parse(target)
		if err != nil {
			return
		}
		got, fail := parseRoute(u, config)
		if fail != nil {
			if fail.Status != 404 && (fail.Status != 400 || fail.Code != "DIGEST_INVALID") || fail.Code == "" || fail.Message == "" {
				t.Fatalf("%q: failure %+v", target, fail)
			}
			return
		}
		if got.kind == KindPing {
			return
		}
		if _, err := upstream.ParseRepository(got.repo.Registry, got.repo.Name); err != nil {
			t.Fatalf("%q: %v", target, err)
		}
		if got.kind != KindTags && got.ref.IsZero() || !got.digest.IsZero() && got.digest.String() != got.ref.String() {
			t.Fatalf("%q: reference %q", target, got.ref)
		}
		verb := map[Kind]string{KindManifest: "manifests/", KindBlob: "blobs/", KindReferrers: "referrers/", KindTags: "tags/list"}[got.kind]
		again, fail := parseRoute(&url.URL{
			Path: "/v2/" + got.repo.Name + "/" + verb + got.ref.String(), RawQuery: "ns=" + url.QueryEscape(got.repo.Registry),
		}, config)
		again.ns = got.ns
		if fail != nil || again != got {
			t.Fatalf("%q: %+v, again %+v (%v)", target, got, again, fail)
		}
	})
}

// Whatever upstream calls the next page, it is one of the list that was asked for, on this server
// and of the same registry.
func FuzzLinkBack(f *testing.F) {
	f.Add("/v2/o/r/tags/list?ns=reg%3A5000&n=2", `</v2/o/r/tags/list?last=b&n=2>; rel="next"`)
	f.Fuzz(func(t *testing.T, target, link string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || u.Host != "" {
			return
		}
		asked, fail := parseRoute(u, Config{}.withDefaults())
		if fail != nil || asked.kind != KindTags {
			return
		}
		back := linkBack(link, &http.Request{URL: u}, asked.ns)
		if back == "" {
			return
		}
		inner, ok := strings.CutSuffix(strings.TrimPrefix(back, "<"), `>; rel="next"`)
		next, err := url.ParseRequestURI(inner)
		if !ok || err != nil || strings.ContainsAny(back, "\r\n\x00") {
			t.Fatalf("%q for %q: %v", back, link, err)
		}
		if got, fail := parseRoute(next, Config{}.withDefaults()); fail != nil || got != asked {
			t.Fatalf("%q leads to %+v (%v), asked was %+v", back, got, fail, asked)
		}
	})
}

func TestLinkBack(t *testing.T) {
	for _, c := range []struct{ target, link, want string }{
		{"/v2/o/r/tags/list?ns=reg%3A5000&n=2", `</v2/o/r/tags/list?last=b&n=2>; rel="next"`, `</v2/o/r/tags/list?last=b&n=2&ns=reg%3A5000>; rel="next"`},
		{"/v2/ghcr.io/o/r/tags/list", `<https://ghcr.io/v2/o/r/tags/list?last=b>; rel=next`, `</v2/ghcr.io/o/r/tags/list?last=b>; rel="next"`},
		{"/v2/ghcr.io/o/r/tags/list", `</v2/o/r/tags/list?last=b>; rel="prev"`, ""},
		{"/v2/ghcr.io/o/r/tags/list", `</v2/o/r/tags/list?last=b`, ""},
		{"/v2/ghcr.io/o/r/tags/list", `x</v2/o>; rel="next"`, ""},
		{"/v2/ghcr.io/o/r/tags/list", "<:\x01>; rel=\"next\"", ""},
	} {
		r := httptest.NewRequest("GET", c.target, nil)
		if got := linkBack(c.link, r, r.URL.Query().Has("ns")); got != c.want {
			t.Errorf("%s: %q, want %q", c.link, got, c.want)
		}
	}
}
