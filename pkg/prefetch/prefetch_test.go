package prefetch

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/credentials"
	"github.com/shoal-project/shoal/pkg/manifest"
	"github.com/shoal-project/shoal/pkg/upstream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const planted = "pa55word"

func TestParseImage(t *testing.T) {
	const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for s, want := range map[string]string{
		"nginx":                             "docker.io/library/nginx:latest",
		"nginx:1.27":                        "docker.io/library/nginx:1.27",
		"docker.io/nginx":                   "docker.io/library/nginx:latest",
		"team/app":                          "docker.io/team/app:latest",
		"localhost/app":                     "localhost/app:latest",
		"localhost:5000/app":                "localhost:5000/app:latest",
		"reg.example:5000/a/b/c:v1":         "reg.example:5000/a/b/c:v1",
		"reg.example/a@" + digest:           "reg.example/a@" + digest,
		"reg.example/a:v1@" + digest:        "reg.example/a@" + digest,
		"":                                  "",
		"/a":                                "",
		"a:b:c":                             "",
		"a@":                                "",
		"a@v1":                              "",
		"a@sha256:0":                        "",
		"Upper":                             "",
		"reg.example/../a":                  "",
		"reg.example/a:" + digest:           "",
		"a b":                               "",
		"https://reg.example/a":             "",
		strings.Repeat("a", 5000):           "",
		"user:" + planted + "@reg.example/": "",
	} {
		got, err := ParseImage(s)
		if want == "" != (err != nil) || err == nil && got.String() != want {
			t.Errorf("%.60q: %s, %v, want %q", s, got, err, want)
		}
	}
}

// Whatever is asked for, what comes out is a reference that means the same when it is read again.
func FuzzParseImage(f *testing.F) {
	for _, s := range []string{"nginx", "a/b:c", "localhost:5000/a", "r.example/a:v1@sha256:" + strings.Repeat("0", 64), "a:b:c", "@", ":", "/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		one, err := ParseImage(s)
		if err != nil {
			return
		}
		if two, err := ParseImage(one.String()); err != nil || two != one {
			t.Errorf("%q is %s, which is %s, %v", s, one, two, err)
		}
		if !upstream.ValidRegistry(one.Repository.Registry) || !upstream.ValidName(one.Repository.Name) {
			t.Errorf("%q is %s", s, one)
		}
	})
}

// A world is a registry with a token server, and a node that takes what it delivers.
type world struct {
	t      *testing.T
	server *httptest.Server
	deps   Deps
	scheme string            // of the challenge; "" for a public registry
	good   string            // the Authorization that the registry takes
	bodies map[string][]byte // manifests by tag and digest

	mu    sync.Mutex
	asked []string // of the token server: method, query or form, Authorization
	kept  map[blob.Digest]bool
	wants []Want
	fails []error // of downloads, first to last
	held  map[blob.Digest]Part
}

func newWorld(t *testing.T, scheme, good string, login credentials.Login) *world {
	t.Helper()
	w := &world{t: t, scheme: scheme, good: good, bodies: map[string][]byte{}, kept: map[blob.Digest]bool{}, held: map[blob.Digest]Part{}}
	w.server = httptest.NewServer(w)
	t.Cleanup(w.server.Close)
	up, err := upstream.New(upstream.Config{Upstreams: map[string]string{"reg.example": w.server.URL}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	w.deps = Deps{
		Upstream: up, Blobs: w, Store: w, Logins: fixed{login}, Tokens: transport,
		Insecure: func(registry string) bool { return registry == "reg.example" },
	}
	return w
}

type fixed struct{ login credentials.Login }

func (f fixed) Login(context.Context, string) (credentials.Login, error) { return f.login, nil }

func (w *world) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	authorization := r.Header.Get("Authorization")
	if r.URL.Path == "/token" {
		body, _ := io.ReadAll(r.Body)
		w.mu.Lock()
		w.asked = append(w.asked, strings.Join([]string{r.Method, r.URL.Query().Encode(), string(body), authorization}, " "))
		n := len(w.asked)
		w.mu.Unlock()
		_ = json.NewEncoder(out).Encode(map[string]string{"token": fmt.Sprint("token-", n)})
		return
	}
	if w.scheme != "" && authorization != w.good && !strings.HasPrefix(authorization, w.good+"token-") {
		challenge := `Basic realm="x"`
		if w.scheme == "Bearer" {
			challenge = fmt.Sprintf(`Bearer realm="%s/token",service="svc",scope="repository:other:push"`, w.server.URL)
		}
		out.Header().Set("WWW-Authenticate", challenge)
		out.WriteHeader(http.StatusUnauthorized)
		return
	}
	body, ok := w.bodies[r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]]
	if !ok {
		out.WriteHeader(http.StatusNotFound)
		return
	}
	out.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
	_, _ = out.Write(body)
}

// PutBytes implements Store.
func (w *world) PutBytes(d blob.Digest, p []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept[d] = sha256.Sum256(p) == d
	return nil
}

// Download implements Blobs.
func (w *world) Download(_ context.Context, want Want) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wants = append(w.wants, want)
	if len(w.fails) > 0 {
		err := w.fails[0]
		w.fails = w.fails[1:]
		return err
	}
	w.held[want.Blob] = Part{Have: want.Size, FromPeers: want.Size}
	return nil
}

// Parts implements Blobs.
func (w *world) Parts(context.Context) (map[blob.Digest]Part, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.held), nil
}

// push puts an image into the registry, behind an index with others, and returns the image's digest.
func (w *world) push(architectures ...string) blob.Digest {
	put := func(name, text string) blob.Digest {
		d := blob.Digest(sha256.Sum256([]byte(text)))
		w.bodies[d.String()], w.bodies[name] = []byte(text), []byte(text)
		return d
	}
	children := make([]string, 0, len(architectures))
	var own blob.Digest
	for i, architecture := range architectures {
		d := put("child", fmt.Sprintf(`{"schemaVersion":2,"config":{"digest":%q,"size":10},"layers":[{"digest":%q,"size":%d}]}`,
			blob.Digest{1, byte(i)}, blob.Digest{2, byte(i)}, 1000+i))
		if architecture == runtime.GOARCH {
			own = d
		}
		children = append(children, fmt.Sprintf(`{"digest":%q,"size":9,"platform":{"os":"linux","architecture":%q}}`, d, architecture))
	}
	put("v1", `{"schemaVersion":2,"manifests":[`+strings.Join(children, ",")+`]}`)
	return own
}

func (w *world) fetch(ref string) (last Progress, err error) {
	w.t.Helper()
	image, err := ParseImage("reg.example/team/app" + ref)
	if err != nil {
		w.t.Fatal(err)
	}
	err = w.deps.Fetch(w.t.Context(), image, func(p Progress) { last = p })
	return last, err
}

// An image comes whole, for this platform, by every kind of login, and what the token server is asked for
// is leave to pull this repository, whatever the challenge says.
func TestFetch(t *testing.T) {
	name := credentials.Login{Name: "me", Password: planted}
	for what, c := range map[string]struct {
		scheme, good string
		login        credentials.Login
		asked        string
	}{
		"public":         {"", "", credentials.Login{}, ""},
		"Basic":          {"Basic", "Basic bWU6cGE1NXdvcmQ=", name, ""},
		"Bearer":         {"Bearer", "Bearer ", name, "GET scope=repository%3Ateam%2Fapp%3Apull&service=svc  Basic bWU6cGE1NXdvcmQ="},
		"Bearer, no one": {"Bearer", "Bearer ", credentials.Login{}, "GET scope=repository%3Ateam%2Fapp%3Apull&service=svc  "},
		"identity token": {"Bearer", "Bearer ", credentials.Login{IdentityToken: planted}, "POST  client_id=shoal&grant_type=refresh_token&refresh_token=pa55word&scope=repository%3Ateam%2Fapp%3Apull&service=svc "},
		"registry token": {"Bearer", "Bearer " + planted, credentials.Login{RegistryToken: planted}, ""},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t, c.scheme, c.good, c.login)
			image := w.push("s390x", runtime.GOARCH)
			p, err := w.fetch(":v1")
			if err != nil {
				t.Fatal(err)
			}
			if p.Image != "reg.example/team/app:v1" || p.Digest != image || p.Blobs != 2 || p.Done != 2 || p.Size != 1011 || p.Have != 1011 || p.FromPeers != 1011 {
				t.Errorf("progress %+v", p)
			}
			if len(w.kept) != 2 || !w.kept[image] {
				t.Errorf("kept %v", w.kept)
			}
			for _, want := range w.wants {
				if want.Image != image || c.scheme != "" && !strings.HasPrefix(want.Source.Credential.Authorization(), c.good) {
					t.Errorf("want %+v", want)
				}
			}
			if asked := strings.Join(w.asked, "\n"); asked != c.asked {
				t.Errorf("the token server was asked\n%s, want\n%s", asked, c.asked)
			}
		})
	}
}

// A token that ends in the middle costs one more, for all blobs together.
func TestTokenEnds(t *testing.T) {
	w := newWorld(t, "Bearer", "Bearer ", credentials.Login{})
	w.push(runtime.GOARCH)
	w.fails = []error{&upstream.StatusError{Code: 401}, &upstream.StatusError{Code: 401}}
	if _, err := w.fetch(":v1"); err != nil || len(w.asked) < 2 || len(w.asked) > 3 || len(w.wants) != 4 {
		t.Errorf("%v, asked %q, %d downloads", err, w.asked, len(w.wants))
	}
	w.fails = slices.Repeat([]error{&upstream.StatusError{Code: 401}}, 100)
	if _, err := w.fetch(":v1"); !errors.Is(err, upstream.ErrUnauthorized) {
		t.Errorf("err = %v", err)
	}
}

// What cannot be had says why and what to do, without the login.
func TestFetchFails(t *testing.T) {
	login := credentials.Login{Name: "me", Password: planted, IdentityToken: planted}
	for what, c := range map[string]struct {
		change func(*world)
		ref    string
		says   string
	}{
		"no such tag":         {func(*world) {}, ":v2", "has no such image"},
		"other platforms":     {func(w *world) { w.push("s390x", "mips") }, ":v1", "there is no image for linux/" + runtime.GOARCH + ", only for: linux/s390x, linux/mips"},
		"no manifest":         {func(w *world) { w.bodies["v1"] = []byte(planted) }, ":v1", "malformed manifest"},
		"opaque":              {func(w *world) { w.bodies["v1"] = []byte(`{"schemaVersion":1,"fsLayers":[]}`) }, ":v1", "no image that Shoal can look into"},
		"too long":            {func(w *world) { w.bodies["v1"] = make([]byte, manifest.MaxBody+1) }, ":v1", "is longer than"},
		"another digest":      {func(w *world) { w.bodies[blob.Digest{9}.String()] = []byte("{}") }, "@" + blob.Digest{9}.String(), "another manifest"},
		"endless indexes":     {func(w *world) { w.nest(maxNested + 1) }, ":v1", "indexes stand above"},
		"too many blobs":      {func(w *world) { w.bodies["v1"] = manyBlobs() }, ":v1", "at most 512"},
		"the disk":            {func(w *world) { w.fails = []error{errors.New("disk"), errors.New("disk")} }, ":v1", "disk"},
		"refused":             {func(w *world) { w.scheme, w.good = "Basic", "Basic other" }, ":v1", "does not let this node's login pull it (401)"},
		"realm without TLS":   {func(w *world) { w.scheme, w.good, w.deps.Insecure = "Bearer", "Bearer ", nil }, ":v1", "which is not https"},
		"refused with no one": {func(w *world) { w.scheme, w.good, w.deps.Logins = "Basic", "Basic other", nil }, ":v1", "wants a login (401); name it with --credentials-registry"},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t, "", "", login)
			w.push(runtime.GOARCH)
			c.change(w)
			_, err := w.fetch(c.ref)
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), planted) {
				t.Errorf("err = %v", err)
			}
			if len(w.asked) > 0 && what == "realm without TLS" {
				t.Error("the token server was asked all the same")
			}
		})
	}
}

// nest puts indexes above an index.
func (w *world) nest(depth int) {
	text := string(w.bodies["v1"])
	for range depth {
		d := blob.Digest(sha256.Sum256([]byte(text)))
		w.bodies[d.String()] = []byte(text)
		text = fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"digest":%q,"size":9,"platform":{"os":"linux","architecture":%q}}]}`, d, runtime.GOARCH)
	}
	w.bodies["v1"] = []byte(text)
}

func manyBlobs() []byte {
	layers := make([]string, maxBlobs+1)
	for i := range layers {
		layers[i] = fmt.Sprintf(`{"digest":%q,"size":1}`, blob.Digest{3, byte(i), byte(i >> 8)})
	}
	return fmt.Appendf(nil, `{"schemaVersion":2,"config":{"digest":%q,"size":1},"layers":[%s]}`, blob.Digest{4}, strings.Join(layers, ","))
}

func TestChoose(t *testing.T) {
	child := func(n byte, os, architecture, variant string) manifest.Descriptor {
		return manifest.Descriptor{Digest: blob.Digest{n}, Platform: manifest.Platform{OS: os, Architecture: architecture, Variant: variant}}
	}
	children := []manifest.Descriptor{
		child(1, "windows", "amd64", ""), child(2, "linux", "arm", "v6"), child(3, "linux", "arm", "v7"), child(4, "linux", "arm64", "v8"),
		child(5, "linux", "amd64", "v3"), child(6, "linux", "amd64", ""), child(7, "unknown", "unknown", ""),
	}
	for architecture, want := range map[string]byte{"amd64": 6, "arm": 3, "arm64": 4} {
		if got, err := choose(children, architecture); err != nil || got != (blob.Digest{want}) {
			t.Errorf("%s: %s, %v", architecture, got, err)
		}
	}
}
