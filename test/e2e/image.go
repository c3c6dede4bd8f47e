package e2e

import (
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strconv"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// MiB is 1024 * 1024 bytes.
const MiB = 1 << 20

// An Image is what was pushed, for comparison with what arrives.
type Image struct {
	Tagged string // reference by tag
	Pinned string // reference by digest
	Digest string // of the index that both name

	Manifest string          // digest of this platform's manifest
	Layers   []Layer         // of this platform
	Files    map[string]File // by path without a leading slash
}

// A Layer is one compressed layer.
type Layer struct {
	Digest string
	Size   int64
}

// A File is what is compared of a file, directory or link.
type File struct {
	Mode fs.FileMode
	Size int64    // of regular files
	Hash [32]byte // of regular files
	Link string   // target of symbolic links
}

// Size is the number of bytes in all layers.
func (i Image) Size() int64 {
	var sum int64
	for _, l := range i.Layers {
		sum += l.Size
	}
	return sum
}

// Push makes an image and pushes it as an index with two platforms, as most public
// images are. Its content follows from the repository's name, and each element of
// sizes is a layer of about that many compressed bytes. Below them lies a layer with
// the hello program, above them one that deletes and replaces files.
func (r *Registry) Push(repository string, sizes ...int64) Image {
	r.lab.t.Helper()
	layers, files := generate(r.lab.t, repository, r.lab.site.Tools.Hello, sizes)
	return r.push(repository, layers, files)
}

// PushPlain is Push of an image that has nothing but the layers of the given sizes. All
// repositories get the same bytes there, behind a line that gives each its own digests.
func (r *Registry) PushPlain(repository string, sizes ...int64) Image {
	r.lab.t.Helper()
	files := make(map[string]File)
	layers := make([]v1.Layer, 0, len(sizes))
	for n, size := range sizes {
		layer := newLayer(files)
		layer.file(fmt.Sprintf("data/%d/repository", n), 0o644, []byte(repository+"\n"))
		layer.data(n, "plain", size)
		layers = append(layers, layer.close(r.lab.t))
	}
	return r.push(repository, layers, files)
}

func (r *Registry) push(repository string, layers []v1.Layer, files map[string]File) Image {
	t := r.lab.t
	t.Helper()
	image := assemble(t, runtime.GOARCH, layers...)
	other := assemble(t, "s390x", layers[0])
	index := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{Add: other, Descriptor: platform(t, other)},
		mutate.IndexAddendum{Add: image, Descriptor: platform(t, image)})
	tag, err := name.NewTag(r.Host+"/"+repository+":1", name.Insecure, name.StrictValidation)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(tag, index, remote.WithTransport(pusher{r, repository}), remote.WithContext(t.Context())); err != nil {
		t.Fatalf("pushing %s: %v", tag, err)
	}
	digest, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	pushed := Image{
		Tagged: tag.String(), Pinned: tag.Context().Digest(digest.String()).String(),
		Digest: digest.String(), Manifest: manifest.String(), Files: files,
	}
	for _, layer := range layers {
		pushed.Layers = append(pushed.Layers, measure(t, layer))
	}
	return pushed
}

func measure(t T, layer v1.Layer) Layer {
	t.Helper()
	digest, err := layer.Digest()
	if err != nil {
		t.Fatal(err)
	}
	size, err := layer.Size()
	if err != nil {
		t.Fatal(err)
	}
	return Layer{Digest: digest.String(), Size: size}
}

// assemble makes an OCI image for Linux on one architecture.
func assemble(t T, architecture string, layers ...v1.Layer) v1.Image {
	t.Helper()
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.ConfigFile(base, &v1.ConfigFile{
		OS: "linux", Architecture: architecture,
		RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{Entrypoint: []string{"/" + helloPath}},
	})
	if err == nil {
		image, err = mutate.AppendLayers(image, layers...)
	}
	if err != nil {
		t.Fatalf("assembling an image: %v", err)
	}
	return image
}

func platform(t T, image v1.Image) v1.Descriptor {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return v1.Descriptor{Platform: config.Platform()}
}

// generate makes the layers of an image and the list of files that they leave.
func generate(t T, seed, hello string, sizes []int64) ([]v1.Layer, map[string]File) {
	t.Helper()
	program, err := os.ReadFile(hello) //nolint:gosec // the lab's own file
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]File)
	base := newLayer(files)
	for _, dir := range []string{"bin", "data", "dev", "etc", "proc", "sys", "tmp"} {
		base.dir(dir)
	}
	base.file(helloPath, 0o755, program)
	base.file("etc/doomed", 0o644, []byte("deleted by the last layer\n"))
	base.file("etc/replaced", 0o644, []byte("old\n"))
	layers := []v1.Layer{base.close(t)}
	for n, size := range sizes {
		layer := newLayer(files)
		layer.dir("data/" + strconv.Itoa(n))
		layer.data(n, seed, size)
		layer.link(fmt.Sprintf("data/%d/link", n), "0")
		layers = append(layers, layer.close(t))
	}
	last := newLayer(files)
	last.remove("etc/doomed")
	last.file("etc/replaced", 0o600, []byte("new\n"))
	last.file("etc/seed", 0o644, []byte(seed+"\n"))
	return append(layers, last.close(t)), files
}
