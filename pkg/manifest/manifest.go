package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/jsondepth"
)

// Limits on what Parse accepts. The body's is the one that the distribution
// specification asks registries to support ("Pushing Manifests", 4 megabytes).
const (
	MaxBody        = 4 * blob.MiB
	MaxDescriptors = 10_000
	// maxDepth is the deepest nesting of objects and arrays; real manifests need five.
	maxDepth = 64
	// maxText bounds a media type and each field of a platform, in bytes.
	maxText = 255
)

// Media types outside the OCI image specification. The first four are Docker's image
// manifest version 2, schema 2 and 1; the last two carry blobs instead of layers and
// were dropped before OCI 1.1, but registries still hold such content.
const (
	MediaTypeDockerManifest      = "application/vnd.docker.distribution.manifest.v2+json"
	MediaTypeDockerList          = "application/vnd.docker.distribution.manifest.list.v2+json"
	MediaTypeDockerSchema1       = "application/vnd.docker.distribution.manifest.v1+json"
	MediaTypeDockerSchema1Signed = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	MediaTypeOCIArtifact         = "application/vnd.oci.artifact.manifest.v1+json"
	MediaTypeORASArtifact        = "application/vnd.cncf.oras.artifact.manifest.v1+json"
)

// ErrManifest is wrapped by every error of this package: the body is no manifest that
// Shoal looks into. A caller may still pass such a body through.
var ErrManifest = errors.New("malformed manifest")

// A Kind says what a manifest refers to.
type Kind int

// The kinds. The zero value, Opaque, refers to nothing that Shoal knows.
const (
	Opaque   Kind = iota
	Image         // a config and layers
	Index         // other manifests, usually one a platform
	Artifact      // blobs
)

// String returns the kind as one word.
func (k Kind) String() string {
	switch k {
	case Opaque:
		return "opaque"
	case Image:
		return "image"
	case Index:
		return "index"
	case Artifact:
		return "artifact"
	}
	return "unknown"
}

// A Manifest is a manifest's kind and references. The zero value is opaque. It is not
// changed after Parse returned it, so it may be read from many goroutines.
type Manifest struct {
	kind       Kind
	mediaType  string
	references []Descriptor
	skipped    int
}

// Kind says what the manifest refers to.
func (m Manifest) Kind() Kind { return m.kind }

// MediaType is the type to serve the manifest under, or "" when the body does not say.
func (m Manifest) MediaType() string { return m.mediaType }

// References lists everything the manifest refers to in its own order, config first,
// and may name one digest more than once. The caller must not change it.
func (m Manifest) References() []Descriptor { return m.references }

// Skipped is the number of references that are left out because Shoal cannot exchange
// them: the digest is not SHA-256, or the blob is larger than blob.MaxSize.
func (m Manifest) Skipped() int { return m.skipped }

// Ahead lists the blobs that are worth fetching before a client asks: the config and
// the layers of an image or the blobs of an artifact, each digest once, in order.
// Foreign layers are left out, and so are the children of an index: which of them a
// client wants is known only when it asks.
func (m Manifest) Ahead() []Descriptor {
	var ahead []Descriptor
	seen := map[blob.Digest]bool{}
	for _, d := range m.references {
		if d.Role == Child || d.Foreign || seen[d.Digest] {
			continue
		}
		seen[d.Digest] = true
		ahead = append(ahead, d)
	}
	return ahead
}

// Children lists the manifests of an index, in order.
func (m Manifest) Children() []Descriptor {
	if m.kind != Index {
		return nil
	}
	return m.references
}

// Parse reads a manifest. A JSON object of a type that Shoal does not know is an
// opaque Manifest and no error. Errors wrap ErrManifest: no JSON object, a limit
// exceeded, or a known type whose references make no sense. Parse keeps no part of body.
func Parse(body []byte) (Manifest, error) {
	s, err := parseShape(body)
	if err != nil {
		return Manifest{}, err
	}
	kind, mediaType, err := s.identify()
	if err != nil {
		return Manifest{}, err
	}
	var c collector
	switch kind {
	case Opaque:
	case Image:
		c.one(Config, s.Config)
		c.list(Layer, s.Layers)
	case Artifact:
		c.list(Layer, s.Blobs)
	case Index:
		c.list(Child, s.Manifests)
	}
	if c.err != nil {
		return Manifest{}, c.err
	}
	return Manifest{kind: kind, mediaType: mediaType, references: c.found, skipped: c.skipped}, nil
}

// MediaType returns the type to serve a manifest under: what its mediaType field says,
// else what its structure tells, else "".
func MediaType(body []byte) string {
	s, err := parseShape(body)
	if err != nil {
		return ""
	}
	_, mediaType, err := s.identify()
	if err != nil {
		return ""
	}
	return mediaType
}

// A shape is the top level of a manifest, its parts unread.
type shape struct {
	SchemaVersion json.RawMessage `json:"schemaVersion"`
	MediaType     json.RawMessage `json:"mediaType"`
	Config        json.RawMessage `json:"config"`
	Layers        json.RawMessage `json:"layers"`
	Manifests     json.RawMessage `json:"manifests"`
	Blobs         json.RawMessage `json:"blobs"`
	FSLayers      json.RawMessage `json:"fsLayers"`
	Signatures    json.RawMessage `json:"signatures"`
}

func parseShape(body []byte) (shape, error) {
	if len(body) > int(MaxBody) {
		return shape{}, fmt.Errorf("%w: %d bytes, at most %d", ErrManifest, len(body), MaxBody)
	}
	if err := checkDepth(body); err != nil {
		return shape{}, err
	}
	var s shape
	if err := json.Unmarshal(body, &s); err != nil {
		return shape{}, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) {
		return shape{}, fmt.Errorf("%w: no JSON object", ErrManifest)
	}
	return s, nil
}

// identify tells kind and media type. A body that is two kinds at once is refused:
// readers of different minds would see different images (OCI image specification,
// advisory GHSA-77vh-xpmg-72qh).
func (s shape) identify() (Kind, string, error) {
	mediaType, err := text(s.MediaType)
	if err != nil {
		return Opaque, "", err
	}
	kind := Opaque
	switch mediaType {
	case ocispec.MediaTypeImageManifest, MediaTypeDockerManifest:
		kind = Image
	case ocispec.MediaTypeImageIndex, MediaTypeDockerList:
		kind = Index
	case MediaTypeOCIArtifact, MediaTypeORASArtifact:
		kind = Artifact
	case "":
		kind, mediaType = s.guess()
	}
	image := present(s.Config) || present(s.Layers)
	index := present(s.Manifests)
	if image && index || image && present(s.FSLayers) || index && present(s.FSLayers) {
		return Opaque, "", fmt.Errorf("%w: more than one kind of manifest in one body", ErrManifest)
	}
	if kind == Image && index || kind == Index && image {
		return Opaque, "", fmt.Errorf("%w: the media type is not that of the content", ErrManifest)
	}
	return kind, mediaType, nil
}

// guess tells kind and media type of a body without a mediaType field, which is
// optional in OCI manifests.
func (s shape) guess() (Kind, string) {
	switch {
	case present(s.FSLayers) && string(s.SchemaVersion) == "1":
		if present(s.Signatures) {
			return Opaque, MediaTypeDockerSchema1Signed
		}
		return Opaque, MediaTypeDockerSchema1
	case string(s.SchemaVersion) != "2":
		return Opaque, ""
	case present(s.Manifests):
		return Index, ocispec.MediaTypeImageIndex
	case present(s.Config) && len(s.Layers) > 0: // an image without layers may say null
		return Image, ocispec.MediaTypeImageManifest
	}
	return Opaque, ""
}

func present(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

// text reads an optional short string of printable ASCII: it may end in a header.
func text(raw json.RawMessage) (string, error) {
	if !present(raw) {
		return "", nil
	}
	if len(raw) > 6*maxText+2 { // every character may be written as \uXXXX
		return "", fmt.Errorf("%w: a text of %d bytes", ErrManifest, len(raw))
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if len(s) > maxText {
		return "", fmt.Errorf("%w: a text of %d characters", ErrManifest, len(s))
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return "", fmt.Errorf("%w: a text that is not printable ASCII", ErrManifest)
		}
	}
	return s, nil
}

// checkDepth refuses deep nesting before anything recursive reads the body.
func checkDepth(body []byte) error {
	if jsondepth.Exceeds(body, maxDepth) {
		return fmt.Errorf("%w: nested deeper than %d", ErrManifest, maxDepth)
	}
	return nil
}
