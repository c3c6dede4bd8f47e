package clients

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoal-project/shoal/test/e2e"
)

// The versions that are tested.
const (
	crane = "crane-v0.21.6"
	oras  = "oras-v1.3.6"
)

// direct is an image named by the mirror's address, for tools that know no mirrors.
func (k *kit) direct() string { return mirror + "/" + k.ref }

func TestCrane(t *testing.T) {
	k := newKit(t)
	k.both(func(n *e2e.Node) error {
		// It hashes and unpacks every layer of each platform.
		_, err := n.Run(nil, tool(t, crane), "validate", "--insecure", "--remote", k.direct())
		return err
	})
	if said, err := k.second.Run(nil, tool(t, crane), "digest", "--insecure", k.direct()); err != nil || strings.TrimSpace(said) != k.image.Digest {
		t.Errorf("digest %q, %v", said, err)
	}
	if said, err := k.second.Run(nil, tool(t, crane), "ls", "--insecure", mirror+"/"+registry+"/team/app"); err != nil || strings.TrimSpace(said) != "1" {
		t.Errorf("tags %q, %v", said, err)
	}
}

func TestORAS(t *testing.T) {
	k := newKit(t)
	k.both(func(n *e2e.Node) error {
		layout := t.TempDir()
		if _, err := n.Run(nil, tool(t, oras), "copy", "--from-plain-http", k.direct(), "--to-oci-layout", layout+":1"); err != nil {
			return err
		}
		return k.wholeLayers(filepath.Join(layout, "blobs", "sha256"))
	})
}

// An artifact that is no image, as a Helm chart is: one file under a type of its own.
func TestORASArtifact(t *testing.T) {
	k := newKit(t)
	const repository, size = "/charts/app:1", 9 * e2e.MiB
	chart := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(chart) // it never fails
	push := "cd " + filepath.Dir(k.write("chart.tgz", string(chart))) + " && exec " + tool(t, oras) + " push --plain-http " + k.lab.Registry.Host + repository +
		" --artifact-type application/vnd.cncf.helm.config.v1+json chart.tgz:application/vnd.cncf.helm.chart.content.v1.tar+gzip"
	if _, err := k.first.Run(nil, "sh", "-c", push); err != nil {
		t.Fatal(err)
	}
	k.lab.Registry.Forget()
	k.image.Layers = []e2e.Layer{{Digest: fmt.Sprintf("sha256:%x", sha256.Sum256(chart)), Size: size}}
	k.both(func(n *e2e.Node) error {
		out := t.TempDir()
		if _, err := n.Run(nil, tool(t, oras), "pull", "--plain-http", "-o", out, mirror+"/"+registry+repository); err != nil {
			return err
		}
		got, err := os.ReadFile(filepath.Join(out, "chart.tgz"))
		if err == nil && !bytes.Equal(got, chart) {
			err = fmt.Errorf("the chart is something else, of %d bytes", len(got))
		}
		return err
	})
}
