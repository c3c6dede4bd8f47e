package e2e

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	store "github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// CheckDigests hashes what the node's containerd has of the image: it is what was pushed.
func (n *Node) CheckDigests(ref string, image Image) {
	n.lab.t.Helper()
	ctx, cancel := context.WithTimeout(namespaces.WithNamespace(n.lab.t.Context(), criNamespace), patience)
	defer cancel()
	stored, err := n.containerd.client.GetImage(ctx, ref)
	if err != nil {
		n.lab.t.Errorf("%s has no image %s: %v", n.Name, ref, err)
		return
	}
	if got := stored.Target().Digest.String(); got != image.Digest {
		n.lab.t.Errorf("%s has digest %s for %s, pushed was %s", n.Name, got, ref, image.Digest)
	}
	for _, layer := range image.Layers {
		if err := n.hashLayer(ctx, layer); err != nil {
			n.lab.t.Errorf("%s: layer %s: %v", n.Name, layer.Digest, err)
		}
	}
}

// hashLayer compares a layer in containerd's content store with its digest and size.
func (n *Node) hashLayer(ctx context.Context, layer Layer) (err error) {
	want := digest.Digest(layer.Digest)
	reader, err := n.containerd.client.ContentStore().ReaderAt(ctx, ocispec.Descriptor{Digest: want})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reader.Close()) }()
	got, err := digest.FromReader(store.NewReader(reader))
	if err != nil {
		return err
	}
	if got != want || reader.Size() != layer.Size {
		return fmt.Errorf("%d bytes that hash to %s, pushed were %d", reader.Size(), got, layer.Size)
	}
	return nil
}

// Ingested is what containerd keeps of a layer in an ingest that is not complete, whether containerd
// runs or not; nothing where there is none.
func (n *Node) Ingested(layer Layer) ([]byte, error) {
	refs, err := filepath.Glob(filepath.Join(n.contentFolder(), "ingest", "*", "ref"))
	if err != nil {
		return nil, err
	}
	for _, name := range refs {
		ref, err := os.ReadFile(name) //nolint:gosec // the lab's own file
		if err != nil {
			return nil, err
		}
		if strings.HasSuffix(string(ref), "/layer-"+layer.Digest) {
			data, err := os.ReadFile(filepath.Join(filepath.Dir(name), "data"))
			if errors.Is(err, fs.ErrNotExist) {
				return nil, nil // killed before it made the file
			}
			return data, err
		}
	}
	return nil, nil
}
