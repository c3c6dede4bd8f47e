package main

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// An image is the index of all platforms' images, and what refers to them.
type image struct {
	release   release
	index     v1.ImageIndex
	referrers []v1.Image
}

func newImage(r release) *image {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	return &image{release: r, index: annotated(index, r.labels())}
}

// annotated keeps the type that mutate.Annotations gives up.
func annotated[V partial.WithRawManifest](v V, labels map[string]string) V {
	with, ok := mutate.Annotations(v, labels).(V)
	if !ok {
		panic("image: annotations change what a manifest is")
	}
	return with
}

// labels say what the image is (image-spec, annotations.md).
func (r release) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":         "Shoal",
		"org.opencontainers.image.description":   "Nodes hand image layers to each other instead of all asking the registry",
		"org.opencontainers.image.url":           "https://github.com/shoal-project/shoal",
		"org.opencontainers.image.source":        "https://github.com/shoal-project/shoal",
		"org.opencontainers.image.documentation": "https://github.com/shoal-project/shoal/blob/main/docs/operations.md",
		"org.opencontainers.image.licenses":      "Apache-2.0",
		"org.opencontainers.image.version":       r.version,
		"org.opencontainers.image.revision":      r.commit,
		"org.opencontainers.image.created":       r.epoch.Format(time.RFC3339),
	}
}

// add puts one platform's image into the index, and beside it what it was built from.
func (i *image) add(p platform, binary string) error {
	layers, err := i.release.layers(binary)
	if err != nil {
		return fmt.Errorf("%s/%s: %w", p.os, p.arch, err)
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.ConfigFile(base, i.release.config(p))
	if err != nil {
		return err
	}
	for _, l := range layers {
		history := v1.History{Created: v1.Time{Time: i.release.epoch}, CreatedBy: "deploy/image"}
		if img, err = mutate.Append(img, mutate.Addendum{Layer: l, History: history}); err != nil {
			return err
		}
	}
	img = annotated(img, i.release.labels())
	descriptor, err := partial.Descriptor(img)
	if err != nil {
		return err
	}
	descriptor.Platform = &v1.Platform{OS: p.os, Architecture: p.arch}
	i.index = mutate.AppendManifests(i.index, mutate.IndexAddendum{Add: img, Descriptor: *descriptor})
	list, err := i.release.sbom(p, binary)
	if err != nil {
		return err
	}
	referrer, err := referTo(*descriptor, list, i.release.labels()["org.opencontainers.image.created"])
	i.referrers = append(i.referrers, referrer)
	return err
}

// config says how the image is run: as nobody in particular, and the DaemonSet says otherwise.
func (r release) config(p platform) *v1.ConfigFile {
	return &v1.ConfigFile{
		OS: p.os, Architecture: p.arch, Created: v1.Time{Time: r.epoch},
		RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{
			User: "65532:65532", Entrypoint: []string{"/" + binaryPath}, WorkingDir: "/",
			Env: []string{"PATH=/usr/local/bin", "SSL_CERT_FILE=/" + certificatesPath}, Labels: r.labels(),
		},
	}
}

// referTo is a manifest that names an image as its subject (image-spec, manifest.md,
// "Guidelines for Artifact Usage"; the type of the config is that of the artifact).
func referTo(subject v1.Descriptor, content []byte, created string) (v1.Image, error) {
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), spdxType)
	img, err := mutate.AppendLayers(base, static.NewLayer(content, spdxType))
	if err != nil {
		return nil, err
	}
	img = annotated(img, map[string]string{"org.opencontainers.image.created": created})
	subject.Platform = nil
	referrer, ok := mutate.Subject(img, subject).(v1.Image)
	if !ok {
		return nil, fmt.Errorf("a manifest with a subject is %T", img)
	}
	return referrer, nil
}

// write replaces the layout and the archive in the folder.
func (i *image) write(out string) error {
	target := filepath.Join(out, "oci")
	if err := os.RemoveAll(target); err != nil {
		return err
	}
	path, err := layout.Write(target, empty.Index)
	if err != nil {
		return err
	}
	named := layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": i.release.version})
	if err := path.AppendIndex(i.index, named); err != nil {
		return err
	}
	for _, r := range i.referrers {
		if err := path.AppendImage(r); err != nil {
			return err
		}
	}
	return pack(target, filepath.Join(out, "shoal-oci.tar"), i.release.epoch)
}

// pack makes an archive of a folder whose bytes follow from the files alone.
func pack(folder, file string, epoch time.Time) (err error) {
	out, err := os.Create(file) //nolint:gosec // where the user said
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := out.Close(); err == nil {
			err = closeErr
		}
	}()
	w := tar.NewWriter(out)
	err = filepath.WalkDir(folder, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == folder {
			return err
		}
		return packOne(w, folder, name, entry, epoch)
	})
	if err != nil {
		return err
	}
	return w.Close()
}

func packOne(w *tar.Writer, folder, name string, entry fs.DirEntry, epoch time.Time) error {
	inside, err := filepath.Rel(folder, name)
	if err != nil {
		return err
	}
	if entry.IsDir() {
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: filepath.ToSlash(inside) + "/", Mode: 0o755, ModTime: epoch})
	}
	f, err := os.Open(name) //nolint:gosec // just written
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: filepath.ToSlash(inside), Mode: 0o644, Size: info.Size(), ModTime: epoch}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}

// report prints the digest, and to whoever watches how large the platforms' images are.
func (i *image) report() error {
	manifest, err := i.index.IndexManifest()
	if err != nil {
		return err
	}
	for _, m := range manifest.Manifests {
		img, err := i.index.Image(m.Digest)
		if err != nil {
			return err
		}
		layers, err := img.Layers()
		if err != nil {
			return err
		}
		var sum int64
		for _, l := range layers {
			size, err := l.Size()
			if err != nil {
				return err
			}
			sum += size
		}
		_, _ = fmt.Fprintf(os.Stderr, "%s  %.1f MiB compressed\n", m.Platform, float64(sum)/(1<<20))
	}
	digest, err := i.index.Digest()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(os.Stdout, digest)
	return err
}
