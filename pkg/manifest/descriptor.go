package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A Role says in which place of a manifest a descriptor stood.
type Role int

// The roles.
const (
	Config Role = iota + 1 // the config of an image
	Layer                  // a layer of an image or a blob of an artifact
	Child                  // a manifest of an index
)

// A Platform says which machines a manifest of an index is for. Empty fields were not given.
type Platform struct {
	OS           string
	Architecture string
	Variant      string
	OSVersion    string
}

// String returns os/architecture[/variant], the form of Docker's --platform, or "" for
// the zero value.
func (p Platform) String() string {
	if p.OS == "" && p.Architecture == "" {
		return ""
	}
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// A Descriptor is one reference of a manifest (OCI image specification, descriptor.md).
// Size is between 0 and blob.MaxSize.
type Descriptor struct {
	Role      Role
	MediaType string
	Digest    blob.Digest
	Size      blob.ByteCount
	// Foreign marks a layer that is to be fetched from elsewhere: it names URLs, or its
	// type says that it must not be distributed. A registry often does not have it.
	Foreign bool
	// Platform is that of a Child, as far as the index gives it.
	Platform Platform
}

// Beginnings of the types of layers that must not be distributed: Docker's and the
// deprecated ones of OCI. A suffix says how the layer is compressed.
const (
	dockerForeign = "application/vnd.docker.image.rootfs.foreign.diff.tar"
	ociForeign    = "application/vnd.oci.image.layer.nondistributable.v1.tar"
)

// rawDescriptor is a descriptor as JSON; whatever could be long stays unread.
type rawDescriptor struct {
	MediaType json.RawMessage `json:"mediaType"`
	Digest    json.RawMessage `json:"digest"`
	Size      *int64          `json:"size"`
	URLs      json.RawMessage `json:"urls"`
	Platform  json.RawMessage `json:"platform"`
}

type rawPlatform struct {
	OS           json.RawMessage `json:"os"`
	Architecture json.RawMessage `json:"architecture"`
	Variant      json.RawMessage `json:"variant"`
	OSVersion    json.RawMessage `json:"os.version"`
}

// A collector gathers descriptors and stops at the first error.
type collector struct {
	found   []Descriptor
	sizes   map[blob.Digest]blob.ByteCount
	count   int
	skipped int
	err     error
}

func (c *collector) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%w: "+format, append([]any{ErrManifest}, args...)...)
	}
}

// list reads an array of descriptors one by one, so that their number is limited
// before memory is spent on them.
func (c *collector) list(role Role, raw json.RawMessage) {
	if c.err != nil || !present(raw) {
		return
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if open, err := dec.Token(); err != nil || open != json.Delim('[') {
		c.fail("references that are no list")
		return
	}
	for c.err == nil && dec.More() {
		var one json.RawMessage
		if err := dec.Decode(&one); err != nil {
			c.fail("%w", err)
			return
		}
		if !present(one) {
			c.fail("null among the references")
			return
		}
		c.one(role, one)
	}
}

// one reads a single descriptor; an absent one is no error.
func (c *collector) one(role Role, raw json.RawMessage) {
	if c.err != nil || !present(raw) {
		return
	}
	if c.count++; c.count > MaxDescriptors {
		c.fail("more than %d references", MaxDescriptors)
		return
	}
	d, known, err := parseDescriptor(role, raw)
	if err != nil {
		c.err = err
		return
	}
	if !known {
		c.skipped++
		return
	}
	if c.sizes == nil {
		c.sizes = map[blob.Digest]blob.ByteCount{}
	}
	if size, seen := c.sizes[d.Digest]; seen && size != d.Size {
		c.fail("two sizes, %d and %d, for %s", size, d.Size, d.Digest)
		return
	}
	c.sizes[d.Digest] = d.Size
	c.found = append(c.found, d)
}

// parseDescriptor reads one descriptor. It is not known when Shoal cannot exchange it.
func parseDescriptor(role Role, raw json.RawMessage) (_ Descriptor, known bool, _ error) {
	var r rawDescriptor
	if err := json.Unmarshal(raw, &r); err != nil {
		return Descriptor{}, false, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	d := Descriptor{Role: role}
	var err error
	if d.MediaType, err = text(r.MediaType); err != nil {
		return Descriptor{}, false, err
	}
	digest, err := text(r.Digest)
	if err != nil {
		return Descriptor{}, false, err
	}
	algorithm, encoded, ok := strings.Cut(digest, ":")
	if !ok || algorithm == "" || encoded == "" {
		return Descriptor{}, false, fmt.Errorf("%w: a reference without a digest", ErrManifest)
	}
	if r.Size == nil || *r.Size < 0 {
		return Descriptor{}, false, fmt.Errorf("%w: a reference without a size", ErrManifest)
	}
	if d.Size = blob.ByteCount(*r.Size); algorithm != "sha256" || d.Size > blob.MaxSize {
		return Descriptor{}, false, nil
	}
	if d.Digest, err = blob.ParseDigest(digest); err != nil {
		return Descriptor{}, false, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	d.Foreign = role == Layer && (hasURLs(r.URLs) ||
		strings.HasPrefix(d.MediaType, dockerForeign) || strings.HasPrefix(d.MediaType, ociForeign))
	if role == Child {
		d.Platform, err = parsePlatform(r.Platform)
	}
	return d, err == nil, err
}

// hasURLs reports whether a urls field names any. Its content is not looked at: Shoal
// never fetches from there.
func hasURLs(raw json.RawMessage) bool {
	return present(raw) && len(bytes.Trim(raw, "[] \t\r\n")) > 0
}

func parsePlatform(raw json.RawMessage) (Platform, error) {
	if !present(raw) {
		return Platform{}, nil
	}
	var r rawPlatform
	if err := json.Unmarshal(raw, &r); err != nil {
		return Platform{}, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	var p Platform
	for _, field := range []struct {
		to   *string
		from json.RawMessage
	}{{&p.OS, r.OS}, {&p.Architecture, r.Architecture}, {&p.Variant, r.Variant}, {&p.OSVersion, r.OSVersion}} {
		var err error
		if *field.to, err = text(field.from); err != nil {
			return Platform{}, err
		}
	}
	return p, nil
}
