package proxy

import (
	"bytes"
	"io"
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

func describe(p []byte, mediaType string) ocispec.Descriptor {
	return ocispec.Descriptor{
		MediaType: mediaType, Size: int64(len(p)), Digest: digest.NewDigestFromEncoded(digest.SHA256, digestOf(p).Hex()),
	}
}
