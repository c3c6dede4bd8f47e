package proxy_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A user may pull the repositories listed.
type user struct {
	password     string
	repositories []string
}

// A door makes an origin private. It is a token server as well (Distribution, "Token
// Authentication Specification").
type door struct {
	*httptest.Server

	origin *origin
	scheme string // "Bearer" or "Basic"
	no     int    // the answer to a credential that is known and may not
	users  map[string]user
	// tokens are those that are good, with what each is good for; guarded by origin.mu.
	tokens map[string][]string
	issued int
}

func (o *origin) lock(t *testing.T, scheme string, no int, users map[string]user) *door {
	t.Helper()
	d := &door{origin: o, scheme: scheme, no: no, users: users, tokens: map[string][]string{}}
	d.Server = httptest.NewServer(d)
	t.Cleanup(d.Close)
	o.set(func() { o.gate = d.gate })
	return d
}

// gate answers whom the door stops.
func (d *door) gate(w http.ResponseWriter, r *http.Request) bool {
	repo, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/app/")
	may, known := d.permissions(r)
	switch {
	case !known:
		challenge := `Basic realm="door"`
		if d.scheme == "Bearer" {
			challenge = fmt.Sprintf(`Bearer realm=%q,service="door",scope="repository:%s/app:pull"`, d.URL+"/token", repo)
			if r.Header.Get("Authorization") != "" {
				challenge += `,error="invalid_token"`
			}
		}
		w.Header().Set("WWW-Authenticate", challenge)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
		return true
	case !slices.Contains(may, repo+"/app"):
		refuse(w, d.no, "DENIED")
		return true
	}
	return false
}

// permissions are what the request's credential is good for.
func (d *door) permissions(r *http.Request) (may []string, known bool) {
	if d.scheme == "Bearer" {
		d.origin.mu.Lock()
		defer d.origin.mu.Unlock()
		may, known = d.tokens[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
		return may, known
	}
	name, password, ok := r.BasicAuth()
	u, known := d.users[name]
	return u.repositories, ok && known && u.password == password
}

// ServeHTTP gives out tokens, each of which expired long ago by its own words: containerd asks for
// a new one each time.
func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, password, ok := r.BasicAuth()
	if r.Method == http.MethodPost {
		name, password, ok = r.PostFormValue("username"), r.PostFormValue("password"), true
	}
	u, known := d.users[name]
	if !ok || !known || u.password != password {
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
		return
	}
	var token string
	d.origin.set(func() {
		d.issued++
		token = fmt.Sprintf("token-%d", d.issued)
		d.tokens[token] = u.repositories
	})
	_ = json.NewEncoder(w).Encode(map[string]any{
		"token": token, "access_token": token, "expires_in": 60, "issued_at": time.Now().Add(-time.Hour).UTC(),
	})
}

// fetcher resolves an image as containerd does, with the node as its only host.
func (n *node) fetcher(ctx context.Context, ref, name, password string) (remotes.Fetcher, ocispec.Descriptor, error) {
	resolver := docker.NewResolver(docker.ResolverOptions{Hosts: func(string) ([]docker.RegistryHost, error) {
		return []docker.RegistryHost{{
			Client: n.client, Host: strings.TrimPrefix(n.url, "http://"), Scheme: "http", Path: "/v2",
			Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve,
			Authorizer: docker.NewDockerAuthorizer(docker.WithAuthClient(n.client),
				docker.WithAuthCreds(func(string) (string, string, error) { return name, password, nil })),
		}}, nil
	}})
	resolved, desc, err := resolver.Resolve(ctx, originName+"/"+ref)
	if err != nil {
		return nil, desc, err
	}
	f, err := resolver.Fetcher(ctx, resolved)
	return f, desc, err
}

// pullAs pulls the image as containerd does, with a pull secret.
func (n *node) pullAs(ref, name, password string) error {
	f, desc, err := n.fetcher(n.t.Context(), ref, name, password)
	if err != nil {
		return err
	}
	body, err := fetch(n.t.Context(), f, desc)
	if err != nil {
		return err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(body, &m); err != nil {
		return err
	}
	for _, d := range append(m.Layers, m.Config) {
		if _, err := fetch(n.t.Context(), f, d); err != nil {
			return err
		}
	}
	return nil
}

// fetch reads what the descriptor names, and fails unless that is what came.
func fetch(ctx context.Context, f remotes.Fetcher, d ocispec.Descriptor) ([]byte, error) {
	body, err := f.Fetch(ctx, d)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	p, err := io.ReadAll(body)
	if err == nil && blob.Digest(sha256.Sum256(p)).String() != d.Digest.String() {
		err = fmt.Errorf("%d wrong bytes for %s", len(p), d.Digest)
	}
	return p, err
}

// Private images by every kind of door, from the registry and from a member: whoever has the right
// secret pulls, also after wrong ones, and everybody else gets the registry's own answer.
func TestPrivatePulls(t *testing.T) {
	for _, scheme := range []string{"Bearer", "Basic"} {
		for _, no := range []int{401, 403, 404} {
			t.Run(fmt.Sprint(scheme, no), func(t *testing.T) {
				o := newOrigin(t)
				image := o.push(t, "team/app", "v1", 300_000, 5000)
				o.push(t, "other/app", "v1", 5000)
				d := o.lock(t, scheme, no, map[string]user{
					"owner": {"right", []string{"team/app"}}, "neighbour": {"right", []string{"other/app"}},
				})
				pair := runPair(t, o, nil)
				for _, n := range pair {
					for _, secret := range [][3]string{ // in the order in which a kubelet tries them
						{"owner", "wrong", "fails"}, {"neighbour", "right", "fails"}, {"nobody", "", "fails"}, {"owner", "right", ""},
					} {
						if err := n.pullAs("team/app:v1", secret[0], secret[1]); (err == nil) != (secret[2] == "") {
							t.Fatalf("%v: %v", secret, err)
						}
					}
					o.set(func() { // the second node has nothing from the registry but its word
						o.gate = func(w http.ResponseWriter, r *http.Request) bool {
							return d.gate(w, r) || strings.HasPrefix(r.URL.Path, "/v2/team/") && o.withhold(w, r)
						}
					})
				}
				o.set(func() { o.gate = d.gate })
				for _, n := range pair {
					d.stopsStrangers(t, n, image)
					// A secret that is good for one of two repositories.
					if err := n.pullAs("other/app:v1", "neighbour", "right"); err != nil {
						t.Errorf("the neighbour's own: %v", err)
					}
					if n.pullAs("other/app:v1", "owner", "right") == nil {
						t.Error("the owner has the neighbour's image")
					}
				}
			})
		}
	}
}

// stopsStrangers compares what strangers get from the node, which has it all, with what they get
// from the registry.
func (d *door) stopsStrangers(t *testing.T, n *node, img pushed) {
	t.Helper()
	neighbours := "Basic bmVpZ2hib3VyOnJpZ2h0"
	if d.scheme == "Bearer" {
		neighbours = "Bearer neighbours"
		d.origin.set(func() { d.tokens["neighbours"] = []string{"other/app"} })
	}
	direct := &node{t: t, url: d.origin.URL, client: n.client}
	for _, authorization := range []string{"", neighbours, "Bearer forged", "Basic d3Jvbmc6d3Jvbmc="} {
		for _, path := range []string{"blobs/" + img.blobs[1].digest, "manifests/" + img.manifest.digest, "manifests/v1", "tags/list"} {
			// A moment ago the owner was let in here, and the neighbour into its own repository.
			if err := n.pullAs("team/app:v1", "owner", "right"); err != nil {
				t.Fatal(err)
			}
			if a := n.ask("GET", "/v2/other/app/manifests/v1?ns="+originName, "Authorization", neighbours); a.code != http.StatusOK {
				t.Fatalf("the neighbour's own: %d", a.code)
			}
			for _, method := range []string{http.MethodGet, http.MethodHead} {
				want := direct.ask(method, "/v2/team/app/"+path, "Authorization", authorization)
				got := n.ask(method, "/v2/team/app/"+path+"?ns="+originName, "Authorization", authorization)
				if want.code < 400 || got.code != want.code || got.header.Get("WWW-Authenticate") != want.header.Get("WWW-Authenticate") {
					t.Errorf("%s %s as %q: %d %q, the registry says %d %q", method, path, authorization,
						got.code, got.header.Get("WWW-Authenticate"), want.code, want.header.Get("WWW-Authenticate"))
				}
				if method == http.MethodGet && !strings.HasPrefix(path, "blobs/") && string(got.body) != string(want.body) {
					t.Errorf("%s as %q: %s, the registry says %s", path, authorization, got.body, want.body)
				}
			}
		}
	}
}

// While the registry is away, a secret that it accepted lately pulls what is here, as containerd
// does it: first without. Everybody else gets 503 or the old challenge, and so does everybody with --auth-stale 0.
func TestPullsWhileTheRegistryIsAway(t *testing.T) {
	for what, c := range map[string]struct {
		scheme string
		stale  time.Duration
		pulls  bool
	}{
		"Basic": {"Basic", time.Hour, true}, "Basic, off": {"Basic", 0, false},
		"Bearer": {"Bearer", time.Hour, false}, // what answers the challenge is a new token, which nobody accepted
	} {
		t.Run(what, func(t *testing.T) {
			o := newOrigin(t)
			o.push(t, "team/app", "v1", 300_000)
			o.push(t, "other/app", "v1", 5000)
			o.lock(t, c.scheme, 403, map[string]user{
				"owner": {"right", []string{"team/app"}}, "neighbour": {"right", []string{"other/app"}},
			})
			cfg := settings(t, o)
			cfg.AuthStale = c.stale
			n := run(t, cfg)
			for _, image := range []string{"team", "other"} {
				name := map[string]string{"team": "owner", "other": "neighbour"}[image]
				if err := n.pullAs(image+"/app:v1", name, "right"); err != nil {
					t.Fatal(err)
				}
			}
			o.set(func() {
				o.gate = func(w http.ResponseWriter, _ *http.Request) bool {
					refuse(w, http.StatusServiceUnavailable, "UNAVAILABLE")
					return true
				}
			})
			if err := n.pullAs("team/app:v1", "owner", "right"); (err == nil) != c.pulls {
				t.Errorf("the owner: %v", err)
			}
			for _, secret := range [][2]string{{"owner", "wrong"}, {"neighbour", "right"}, {"nobody", ""}, {"", ""}} {
				if n.pullAs("team/app:v1", secret[0], secret[1]) == nil {
					t.Errorf("%v pulls", secret)
				}
			}
			if got := n.ask("GET", "/v2/team/app/manifests/v1?ns="+originName, "Authorization", "Basic bmVpZ2hib3VyOnJpZ2h0"); got.code != 503 {
				t.Errorf("the neighbour gets %d", got.code)
			}
			want := 503
			if c.pulls {
				want = 401
			}
			got := n.ask("GET", "/v2/any/app/manifests/v1?ns="+originName)
			if got.code != want || (got.header.Get("WWW-Authenticate") == `Basic realm="door"`) != c.pulls {
				t.Errorf("nobody gets %d %v", got.code, got.header)
			}
		})
	}
}

// A token that ends in the middle of a layer, together with the connection, costs a new token.
func TestTokenEndsInMidLayer(t *testing.T) {
	o := newOrigin(t)
	img := o.push(t, "team/app", "v1", 8<<20)
	d := o.lock(t, "Bearer", 403, map[string]user{"owner": {"right", []string{"team/app"}}})
	n := run(t, settings(t, o))
	cut := make(chan struct{})
	var once bool
	o.set(func() {
		o.gate = func(w http.ResponseWriter, r *http.Request) bool {
			if d.gate(w, r) {
				return true
			}
			o.mu.Lock()
			first := !once && r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, img.blobs[1].digest)
			once = once || first
			o.mu.Unlock()
			if !first {
				return false
			}
			w.Header().Set("Docker-Content-Digest", img.blobs[1].digest)
			w.Header().Set("Content-Length", fmt.Sprint(len(img.blobs[1].body)))
			_, _ = w.Write(img.blobs[1].body[:5<<20])
			<-cut
			o.set(func() { clear(d.tokens) })
			panic(http.ErrAbortHandler)
		}
	})
	f, desc, err := n.fetcher(t.Context(), "team/app:v1", "owner", "right")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fetch(t.Context(), f, desc); err != nil {
		t.Fatal(err)
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(img.manifest.body, &m); err != nil {
		t.Fatal(err)
	}
	body, err := f.Fetch(t.Context(), m.Layers[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = body.Close() }()
	var got bytes.Buffer
	if _, err := io.CopyN(&got, body, 1<<20); err != nil {
		t.Fatal(err)
	}
	tokens := d.issued
	close(cut)
	if _, err := io.Copy(&got, body); err != nil || nameOf(got.Bytes()) != img.blobs[1].digest {
		t.Errorf("%d bytes, %v", got.Len(), err)
	}
	if d.issued == tokens {
		t.Error("no new token was asked for: the old one did not end")
	}
}
