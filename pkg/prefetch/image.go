package prefetch

import (
	"fmt"
	"strings"

	"github.com/shoal-project/shoal/pkg/upstream"
)

const (
	dockerHub = "docker.io"
	latest    = "latest"
)

// An Image is what a reference names.
type Image struct {
	Repository upstream.Repository
	Reference  upstream.Reference
}

// String is the whole reference.
func (i Image) String() string {
	if i.Reference.IsTag() {
		return i.Repository.String() + ":" + i.Reference.String()
	}
	return i.Repository.String() + "@" + i.Reference.String()
}

// ParseImage reads a reference as docker and crictl take it: "nginx" is docker.io/library/nginx:latest,
// and a digest counts more than a tag beside it. Errors say what is wrong with it.
func ParseImage(s string) (Image, error) {
	name, digest, pinned := strings.Cut(s, "@")
	tag := latest
	if at := strings.LastIndexByte(name, ':'); at > strings.LastIndexByte(name, '/') {
		name, tag = name[:at], name[at+1:]
	}
	registry, path, qualified := strings.Cut(name, "/")
	if !qualified || !strings.ContainsAny(registry, ".:") && registry != "localhost" {
		registry, path = dockerHub, name
	}
	if registry == dockerHub && !strings.Contains(path, "/") {
		path = "library/" + path
	}
	repo, err := upstream.ParseRepository(registry, path)
	if err != nil {
		return Image{}, fmt.Errorf("%.300q is not the name of an image, like docker.io/library/nginx:1.27: %w", s, err)
	}
	ref, err := upstream.ParseReference(tag)
	if err == nil && pinned {
		ref, err = upstream.ParseReference(digest)
	}
	if err == nil && (pinned && ref.IsTag() || !pinned && !ref.IsTag()) {
		err = fmt.Errorf("%w: a tag stands behind ':', a digest behind '@'", upstream.ErrName)
	}
	if err != nil {
		return Image{}, fmt.Errorf("%.300q is not the name of an image, like docker.io/library/nginx:1.27: %w", s, err)
	}
	return Image{Repository: repo, Reference: ref}, nil
}
