// Package probeimage is a tiny image that no registry has and that every Shoal can serve of
// itself: a pull of it that succeeds went through Shoal, whichever registry it named.
//
// The image is the same on every node and in every pull. The package is pure; who serves
// the image, and who pulls it, is the business of others.
package probeimage

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/shoal-project/shoal/pkg/blob"
)

const (
	// Repository is reserved in every registry. Docker Hub has no names with a dot in
	// them, and "internal" is a top-level domain that nobody gets.
	Repository = "shoal.internal/probe"
	// Registry is one that does not exist. Asking it shows what _default does.
	Registry = "probe.shoal.internal"
	// Server is the Server header of every answer at Shoal's client port.
	Server = "shoal"
	// AskedHeader goes with the answer for a tag of the image: how often this daemon was
	// asked for that tag before.
	AskedHeader = "Shoal-Probe-Asked"

	fileName = "shoal-probe"
	fileText = "This image came from Shoal, the daemon on this node, and from no registry.\n"
)

// Reference is the probe's name in a registry. Any tag means the image; one that was not
// used before is sure to be asked for.
func Reference(registry, tag string) string { return registry + "/" + Repository + ":" + tag }

// Content is a manifest or a blob of the image. Bytes are not to be changed.
type Content struct {
	Digest    blob.Digest
	MediaType string
	Bytes     []byte
}

// An Image is the probe. It is never changed and safe for concurrent use.
type Image struct {
	index     Content
	manifests map[blob.Digest]Content // the index among them
	blobs     map[blob.Digest]Content
}

// New makes the image.
func New() (*Image, error) {
	text, err := archive()
	if err != nil {
		return nil, err
	}
	i := &Image{manifests: map[blob.Digest]Content{}, blobs: map[blob.Digest]Content{}}
	layer := i.addBlob(v1.MediaTypeImageLayer, text)
	index := v1.Index{MediaType: v1.MediaTypeImageIndex}
	index.SchemaVersion = 2
	for _, p := range platforms() {
		config := v1.Image{Platform: p, RootFS: v1.RootFS{Type: "layers"}}
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, layer.Digest)
		body, err := json.Marshal(config)
		if err != nil {
			return nil, fmt.Errorf("probe's config: %w", err)
		}
		manifest := v1.Manifest{MediaType: v1.MediaTypeImageManifest, Config: i.addBlob(v1.MediaTypeImageConfig, body), Layers: []v1.Descriptor{layer}}
		manifest.SchemaVersion = 2
		if body, err = json.Marshal(manifest); err != nil {
			return nil, fmt.Errorf("probe's manifest: %w", err)
		}
		descriptor := i.addManifest(v1.MediaTypeImageManifest, body)
		descriptor.Platform = &p
		index.Manifests = append(index.Manifests, descriptor)
	}
	body, err := json.Marshal(index)
	if err != nil {
		return nil, fmt.Errorf("probe's index: %w", err)
	}
	i.addManifest(v1.MediaTypeImageIndex, body)
	i.index = i.manifests[sha256.Sum256(body)]
	return i, nil
}

// Index is what every tag means.
func (i *Image) Index() Content { return i.index }

// Manifest finds the index or the manifest of one platform.
func (i *Image) Manifest(d blob.Digest) (Content, bool) {
	c, ok := i.manifests[d]
	return c, ok
}

// Blob finds the layer or the config of one platform.
func (i *Image) Blob(d blob.Digest) (Content, bool) {
	c, ok := i.blobs[d]
	return c, ok
}

func (i *Image) addBlob(mediaType string, body []byte) v1.Descriptor {
	return add(i.blobs, mediaType, body)
}

func (i *Image) addManifest(mediaType string, body []byte) v1.Descriptor {
	return add(i.manifests, mediaType, body)
}

func add(to map[blob.Digest]Content, mediaType string, body []byte) v1.Descriptor {
	c := Content{Digest: sha256.Sum256(body), MediaType: mediaType, Bytes: body}
	to[c.Digest] = c
	return v1.Descriptor{MediaType: mediaType, Digest: digest.Digest(c.Digest.String()), Size: int64(len(body))}
}

// platforms are those that containerd and Kubernetes run on under Linux.
func platforms() []v1.Platform {
	all := []v1.Platform{
		{Architecture: "386"},
		{Architecture: "amd64"},
		{Architecture: "arm", Variant: "v6"},
		{Architecture: "arm", Variant: "v7"},
		{Architecture: "arm64"},
		{Architecture: "loong64"},
		{Architecture: "ppc64le"},
		{Architecture: "riscv64"},
		{Architecture: "s390x"},
	}
	for i := range all {
		all[i].OS = "linux"
	}
	return all
}

// archive is the layer: one small file, with no time and no owner in it.
func archive() ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: fileName, Mode: 0o444, Size: int64(len(fileText)), Format: tar.FormatUSTAR})
	if err == nil {
		_, err = w.Write([]byte(fileText))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("probe's layer: %w", err)
	}
	return b.Bytes(), nil
}
