package proxy

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// containerd's own resolver and fetcher pull an image through the proxy: the mirror is the
// only host they know, so whatever it gets wrong fails here.
func TestContainerdsResolverPulls(t *testing.T) {
	for _, ref := range []string{"v1", "digest"} {
		t.Run(ref, func(t *testing.T) {
			k := newKit(t, nil)
			layer := pattern(1, 300_000)
			img := k.registry.push(testRepo, "v1", layer)
			k.blobs.update(func() {
				for _, p := range [][]byte{layer, img.config} {
					k.blobs.content[digestOf(p)], k.blobs.proven[digestOf(p)] = p, true
				}
			})
			name := testRegistry + "/" + testRepo + ":v1"
			if ref == "digest" {
				name = testRegistry + "/" + testRepo + "@" + img.digest.String()
			}
			resolver := docker.NewResolver(docker.ResolverOptions{Hosts: func(string) ([]docker.RegistryHost, error) {
				return []docker.RegistryHost{{
					Client: k.client, Host: strings.TrimPrefix(k.server.URL, "http://"), Scheme: "http", Path: "/v2",
					Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve,
				}}, nil
			}})
			name, desc, err := resolver.Resolve(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			if desc.Digest.String() != img.digest.String() || desc.Size != int64(len(img.manifest)) ||
				desc.MediaType != ocispec.MediaTypeImageManifest {
				t.Errorf("resolved to %+v", desc)
			}
			fetcher, err := resolver.Fetcher(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			for want, d := range map[string]ocispec.Descriptor{
				string(img.manifest): desc,
				string(layer):        describe(layer, ocispec.MediaTypeImageLayer),
				string(img.config):   describe(img.config, ocispec.MediaTypeImageConfig),
			} {
				body, err := fetcher.Fetch(t.Context(), d)
				if err != nil {
					t.Fatalf("%s: %v", d.MediaType, err)
				}
				got, err := io.ReadAll(body)
				if err != nil || !bytes.Equal(got, []byte(want)) {
					t.Errorf("%s: %d bytes, %v; want %d", d.MediaType, len(got), err, len(want))
				}
				if err := body.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// While the registry is out of this node's reach, containerd goes on to its next host after whatever it is told
// here: at once where bearer tokens are asked for, and where it is the Basic challenge of before, after
// showing its credential. The next host is the registry itself, which answers it.
func TestContainerdsResolverMovesOn(t *testing.T) {
	for _, scheme := range []string{"Bearer", "Basic"} {
		t.Run(scheme, func(t *testing.T) {
			registry := unservedRegistry(t)
			img := registry.push(testRepo, "v1", pattern(1, 5000))
			var door *httptest.Server // the registry as containerd reaches it, with a token server in it
			door = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				user, password, _ := r.BasicAuth()
				switch {
				case r.URL.Path == "/token":
					_, _ = io.WriteString(w, `{"token":"new","access_token":"new"}`)
				case scheme == "Bearer" && r.Header.Get("Authorization") != "Bearer new":
					w.Header().Set("WWW-Authenticate", `Bearer realm="`+door.URL+`/token",service="reg",scope="repository:team/app:pull"`)
					w.WriteHeader(http.StatusUnauthorized)
				case scheme == "Basic" && (user != "owner" || password != "right"):
					w.Header().Set("WWW-Authenticate", `Basic realm="reg"`)
					w.WriteHeader(http.StatusUnauthorized)
				default:
					registry.ServeHTTP(w, r)
				}
			}))
			t.Cleanup(door.Close)
			k := newKit(t, nil)
			k.registry.answer(func(w http.ResponseWriter, r *http.Request) bool { door.Config.Handler.ServeHTTP(w, r); return true })
			k.manifest("GET", "v1").want(t, 401) // so the challenge is remembered, if it is one to remember
			k.registry.server.Close()

			var mirrored []int // what the mirror answered
			mirror := &http.Client{Transport: watched(func(r *http.Request) (*http.Response, error) {
				res, err := k.client.Transport.RoundTrip(r)
				if err == nil {
					mirrored = append(mirrored, res.StatusCode)
				}
				return res, err
			})}
			host := func(client *http.Client, url string) docker.RegistryHost {
				return docker.RegistryHost{
					Client: client, Host: strings.TrimPrefix(url, "http://"), Scheme: "http", Path: "/v2",
					Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve,
					Authorizer: docker.NewDockerAuthorizer(docker.WithAuthClient(k.client),
						docker.WithAuthCreds(func(string) (string, string, error) { return "owner", "right", nil })),
				}
			}
			resolver := docker.NewResolver(docker.ResolverOptions{Hosts: func(string) ([]docker.RegistryHost, error) {
				return []docker.RegistryHost{host(mirror, k.server.URL), host(k.client, door.URL)}, nil
			}})
			name, desc, err := resolver.Resolve(t.Context(), testRegistry+"/"+testRepo+":v1")
			if err != nil || desc.Digest.String() != img.digest.String() {
				t.Fatalf("resolved to %v, %v; the mirror answered %v", desc, err, mirrored)
			}
			want := map[string][]int{"Bearer": {503}, "Basic": {401, 503}}[scheme]
			if !slices.Equal(mirrored, want) {
				t.Errorf("the mirror answered %v, want %v", mirrored, want)
			}
			fetcher, err := resolver.Fetcher(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range []ocispec.Descriptor{desc, describe(img.layers[0], ocispec.MediaTypeImageLayer)} {
				body, err := fetcher.Fetch(t.Context(), d)
				if err != nil {
					t.Fatalf("%s: %v", d.MediaType, err)
				}
				got, err := io.ReadAll(body)
				if err != nil || digestOf(got).String() != d.Digest.String() {
					t.Errorf("%s: %d bytes, %v", d.MediaType, len(got), err)
				}
				_ = body.Close()
			}
		})
	}
}

// watched is a RoundTripper.
type watched func(r *http.Request) (*http.Response, error)

func (w watched) RoundTrip(r *http.Request) (*http.Response, error) { return w(r) }

func describe(p []byte, mediaType string) ocispec.Descriptor {
	return ocispec.Descriptor{
		MediaType: mediaType, Size: int64(len(p)), Digest: digest.NewDigestFromEncoded(digest.SHA256, digestOf(p).Hex()),
	}
}
