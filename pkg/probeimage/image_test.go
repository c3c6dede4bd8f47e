package probeimage_test

import (
	"archive/tar"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/probeimage"
)

func newImage(t *testing.T) *probeimage.Image {
	t.Helper()
	image, err := probeimage.New()
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// serve is the least that a registry does to serve the image.
func serve(t *testing.T, image *probeimage.Image) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		rest, ours := strings.CutPrefix(r.URL.Path, "/v2/"+probeimage.Repository+"/")
		kind, ref, _ := strings.Cut(rest, "/")
		d, err := blob.ParseDigest(ref)
		content, found := image.Blob(d)
		if kind == "manifests" {
			if content, found = image.Manifest(d); err != nil {
				content, found = image.Index(), true
			}
		}
		if !ours || !found {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", content.MediaType)
		w.Header().Set("Docker-Content-Digest", content.Digest.String())
		_, _ = w.Write(content.Bytes)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// A client that checks everything accepts the image, for this platform and others.
func TestImageIsWellFormed(t *testing.T) {
	reference, err := name.ParseReference(probeimage.Reference(serve(t, newImage(t)), "any-tag"))
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(reference)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index, validate.Fast); err != nil {
		t.Error(err)
	}
	for _, architecture := range []string{"amd64", "arm64", runtime.GOARCH} {
		image, err := remote.Image(reference, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: architecture}))
		if err != nil {
			t.Errorf("%s: %v", architecture, err)
			continue
		}
		config, err := image.ConfigFile()
		if err != nil || config.Architecture != architecture {
			t.Errorf("%s: %+v, %v", architecture, config, err)
		}
		checkLayer(t, image, config.RootFS.DiffIDs)
	}
}

// checkLayer reads the one layer, which is not compressed, so that both its names are one.
func checkLayer(t *testing.T, image v1.Image, unpacked []v1.Hash) {
	t.Helper()
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 || len(unpacked) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	packed, err := layers[0].Digest()
	if err != nil || packed != unpacked[0] {
		t.Errorf("the layer is %v, unpacked %v, %v", packed, unpacked, err)
	}
	body, err := layers[0].Compressed() // the bytes as they come, checked against the digest
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewReader(body)
	header, err := archive.Next()
	if err != nil || header.Name != "shoal-probe" || header.Mode != 0o444 {
		t.Errorf("%+v, %v", header, err)
	}
	if text, err := io.ReadAll(archive); err != nil || !strings.Contains(string(text), "from no registry") {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := archive.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("more than one file: %v", err)
	}
	if _, err := io.Copy(io.Discard, body); err != nil {
		t.Error(err)
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
}

// Nodes with different builds serve the same bytes.
func TestImageIsFixed(t *testing.T) {
	const want = "sha256:bda3031ac10db8c58f8693ed5d685aeccc35c84a0afb438d8c2f666a3b5ccfaf"
	first, second := newImage(t).Index(), newImage(t).Index()
	if first.Digest != second.Digest || first.Digest.String() != want {
		t.Errorf("the index is %s, and again %s, not %s", first.Digest, second.Digest, want)
	}
}

func TestNothingElse(t *testing.T) {
	image := newImage(t)
	index := image.Index()
	if _, found := image.Blob(index.Digest); found {
		t.Error("the index is a blob")
	}
	if _, found := image.Manifest(blob.Digest{}); found {
		t.Error("there is a manifest without a digest")
	}
	if got := probeimage.Reference(probeimage.Registry, "1"); got != "probe.shoal.internal/shoal.internal/probe:1" {
		t.Error(got)
	}
	if len(index.Bytes) > 8<<10 {
		t.Errorf("the index has %d bytes", len(index.Bytes))
	}
}
