package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const shoalImage = registryAddress + "/shoal/shoal"

// An image is what was pushed.
type image struct {
	tagged, pinned string // as pods name it
	digest         string
	layer          string // digest of the one that no other image has
	size           int64  // of that layer, compressed
}

// pushImages pushes what every run needs: Shoal under two tags, by the program that users push
// it with, and the image of the pods' sandboxes.
func (l *lab) pushImages() error {
	tool := filepath.Join(l.sandbox, "bin", "image")
	var errs []error
	for _, tag := range []string{"one", "two"} {
		errs = append(errs, runIn(l.ctx, "/", tool, "push", "--from", filepath.Join(l.sandbox, "dist", "oci"), "--plain-http", storeAddress+"/shoal/shoal:"+tag))
	}
	_, err := l.push("pause", 0)
	return errors.Join(append(errs, err)...)
}

// push makes an image of the program that waits and so many bytes that nobody has seen.
func (l *lab) push(repository string, size int64) (image, error) {
	program, err := os.ReadFile(filepath.Join(l.sandbox, "bin", "wait"))
	if err != nil {
		return image{}, err
	}
	base, err := layerOf("wait", program)
	if err != nil {
		return image{}, err
	}
	content := make([]byte, size+1) // a layer without a byte would be everybody's
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(repository))).Read(content)
	own, err := layerOf("data", content)
	if err != nil {
		return image{}, err
	}
	config := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	made, err := mutate.ConfigFile(config, &v1.ConfigFile{
		OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers"}, Config: v1.Config{Entrypoint: []string{"/wait"}},
	})
	if err != nil {
		return image{}, err
	}
	if made, err = mutate.AppendLayers(made, base, own); err != nil {
		return image{}, err
	}
	tag, err := name.NewTag(storeAddress+"/"+repository+":1", name.Insecure)
	if err != nil {
		return image{}, err
	}
	if err := remote.Write(tag, made, remote.WithContext(l.ctx)); err != nil {
		return image{}, fmt.Errorf("push %s: %w", repository, err)
	}
	digest, digestErr := made.Digest()
	layer, layerErr := own.Digest()
	bytes, sizeErr := own.Size()
	public := registryAddress + "/" + repository
	return image{
		tagged: public + ":1", pinned: public + "@" + digest.String(), digest: digest.String(), layer: layer.String(), size: bytes,
	}, errors.Join(digestErr, layerErr, sizeErr)
}

func layerOf(file string, content []byte) (v1.Layer, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: file, Mode: 0o755, Size: int64(len(content))})
	if err == nil {
		_, err = w.Write(content)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	opener := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil }
	return tarball.LayerFromOpener(opener, tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(1))
}
