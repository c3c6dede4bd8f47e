package fleet

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/shoal-project/shoal/pkg/blob"
)

// The image's name. The registry's name resolves nowhere: the daemons know its URL from
// --upstream.
const (
	RegistryName = "registry.demo"
	Repository   = "shoal/demo"
	Tag          = "latest"
)

// An Image is what was pushed.
type Image struct {
	Manifest blob.Digest
	Blobs    []Content // the config, then the layers
}

// A Content is one blob of an image.
type Content struct {
	Digest blob.Digest
	Size   blob.ByteCount
}

// Size is the number of bytes of the whole image without its manifest.
func (img Image) Size() blob.ByteCount {
	var sum blob.ByteCount
	for _, c := range img.Blobs {
		sum += c.Size
	}
	return sum
}

// Layers are the image's layers.
func (img Image) Layers() []Content { return img.Blobs[1:] }

// Push generates an image of random layers of size bytes each and pushes it over HTTP. The
// tag then names it; images share no layer. It is for one goroutine at a time.
func (r *Registry) Push(ctx context.Context, layers int, size blob.ByteCount) (Image, error) {
	var img Image
	manifest := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	config := v1.Image{Platform: v1.Platform{Architecture: "amd64", OS: "linux"}}
	body := make([]byte, size)
	for range layers {
		r.layers++
		fill(body, r.layers)
		desc, err := r.pushBlob(ctx, v1.MediaTypeImageLayer, body)
		if err != nil {
			return img, err
		}
		manifest.Layers = append(manifest.Layers, desc)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, desc.Digest)
	}
	rawConfig, err := json.Marshal(config)
	if err != nil {
		return img, fmt.Errorf("write the image's config: %w", err)
	}
	if manifest.Config, err = r.pushBlob(ctx, v1.MediaTypeImageConfig, rawConfig); err != nil {
		return img, err
	}
	raw, err := json.Marshal(manifest)
	if err != nil {
		return img, fmt.Errorf("write the image's manifest: %w", err)
	}
	img.Manifest = sha256.Sum256(raw)
	for _, desc := range append([]v1.Descriptor{manifest.Config}, manifest.Layers...) {
		digest, err := blob.ParseDigest(desc.Digest.String())
		if err != nil {
			return img, err
		}
		img.Blobs = append(img.Blobs, Content{Digest: digest, Size: blob.ByteCount(desc.Size)})
	}
	target := r.URL + "/v2/" + Repository + "/manifests/" + Tag
	return img, push(ctx, http.MethodPut, target, v1.MediaTypeImageManifest, raw)
}

// fill writes incompressible bytes that depend on the layer's number alone.
func fill(p []byte, layer int) {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(layer)+1)
	_, _ = rand.NewChaCha8(seed).Read(p) // never fails
}

// pushBlob uploads in one request (OCI distribution spec, "Pushing a blob monolithically").
func (r *Registry) pushBlob(ctx context.Context, mediaType string, body []byte) (v1.Descriptor, error) {
	digest := blob.Digest(sha256.Sum256(body))
	desc := v1.Descriptor{MediaType: mediaType, Size: int64(len(body))}
	raw, err := json.Marshal(digest)
	if err != nil {
		return desc, err
	}
	if err := json.Unmarshal(raw, &desc.Digest); err != nil {
		return desc, err
	}
	target := r.URL + "/v2/" + Repository + "/blobs/uploads/?digest=" + url.QueryEscape(digest.String())
	return desc, push(ctx, http.MethodPost, target, "application/octet-stream", body)
}

func push(ctx context.Context, method, target, contentType string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
		return fmt.Errorf("push: the registry answered %s: %s", resp.Status, strings.TrimSpace(string(text)))
	}
	return nil
}
