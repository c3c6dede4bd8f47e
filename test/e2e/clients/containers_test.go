package clients

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoal-project/shoal/test/e2e"
)

// registriesConf is what skopeo, podman, Buildah and CRI-O read, with more about the mirror.
func (k *kit) registriesConf(more string) string {
	k.t.Helper()
	return k.write("registries.conf", fmt.Sprintf(`
[[registry]]
prefix = %q
location = %q
insecure = true

[[registry.mirror]]
location = %q
insecure = true
%s
`, registry, k.lab.Registry.Host, mirror+"/"+registry, more))
}

func TestSkopeo(t *testing.T) {
	k := newKit(t)
	conf := k.registriesConf("")
	pull := func(n *e2e.Node) error { return k.skopeo(n, conf, k.ref) }
	k.both(pull)
	k.without(pull)
}

// OpenShift writes mirrors for CRI-O that serve digests alone, or tags alone.
func TestMirrorSets(t *testing.T) {
	k := newKit(t)
	for mode, ref := range map[string]string{"digest-only": k.pinned(), "tag-only": k.ref, "all": k.pinned()} {
		conf := k.registriesConf(fmt.Sprintf("pull-from-mirror = %q", mode))
		k.both(func(n *e2e.Node) error { return k.skopeo(n, conf, ref) })
	}
}

// pinned is the image by its digest.
func (k *kit) pinned() string { return registry + "/team/app@" + k.image.Digest }

// CRI-O itself cannot be built from what the machine reaches. Its calls of the library can.
func TestCRIOLibrary(t *testing.T) {
	k := newKit(t)
	conf := k.registriesConf("")
	pull := func(n *e2e.Node) error {
		for _, ref := range []string{k.ref, k.pinned()} {
			dir := t.TempDir()
			if _, err := n.Run(nil, tool(t, "containers-image-v5.35.0"), conf, ref, dir); err != nil {
				return err
			}
			if err := k.wholeLayers(dir); err != nil {
				return err
			}
		}
		return nil
	}
	k.both(pull)
	k.without(pull)
}

// skopeo copies an image into a folder.
func (k *kit) skopeo(n *e2e.Node, conf, ref string) error {
	dir := filepath.Join(k.t.TempDir(), "image")
	_, err := n.Run(nil, "skopeo", "--insecure-policy", "--registries-conf", conf, "copy", "docker://"+ref, "dir:"+dir)
	if err != nil {
		return err
	}
	return k.wholeLayers(dir)
}

// wholeLayers checks a folder with a file for each layer, named by its digest.
func (k *kit) wholeLayers(dir string) error {
	for _, layer := range k.image.Layers {
		name := strings.TrimPrefix(layer.Digest, "sha256:")
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if got := sha256.Sum256(content); hex.EncodeToString(got[:]) != name {
			return fmt.Errorf("layer %s is something else", name)
		}
	}
	return nil
}

func TestPodman(t *testing.T) {
	k := newKit(t)
	conf := k.registriesConf("")
	policy := k.write("policy.json", `{"default": [{"type": "insecureAcceptAnything"}]}`)
	pull := func(n *e2e.Node) error {
		root := t.TempDir()
		podman := []string{
			"podman", "--root", filepath.Join(root, "root"), "--runroot", filepath.Join(root, "run"), "--tmpdir", filepath.Join(root, "tmp"),
			"--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "file",
		}
		env := []string{"CONTAINERS_REGISTRIES_CONF=" + conf, "HOME=" + root, "TMPDIR=" + root}
		if _, err := n.Run(env, append(podman, "pull", "--signature-policy", policy, k.ref)...); err != nil {
			return err
		}
		said, err := n.Run(env, append(podman, "image", "inspect", "--format", "{{.Digest}} {{len .RootFS.Layers}}", k.ref)...)
		if want := fmt.Sprintf("%s %d", k.image.Digest, len(k.image.Layers)); err == nil && !strings.Contains(said, want) {
			err = fmt.Errorf("podman has %q, want %q", said, want)
		}
		return err
	}
	k.both(pull)
	k.without(pull)
}
