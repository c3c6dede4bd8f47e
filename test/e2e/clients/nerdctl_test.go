package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/shoal-project/shoal/test/e2e"
)

// hostsFolder makes a folder as /etc/containerd/certs.d is: the lab's registry through Shoal, by
// the name that images have for it.
func (k *kit) hostsFolder() string {
	k.t.Helper()
	root := filepath.Join(k.t.TempDir(), "certs.d")
	dir := filepath.Join(root, registry)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		k.t.Fatal(err)
	}
	text := fmt.Sprintf("server = %q\n[host.%q]\n  capabilities = ['pull', 'resolve']\n", k.lab.Registry.URL(), "http://"+mirror)
	if err := os.WriteFile(filepath.Join(dir, "hosts.toml"), []byte(text), 0o600); err != nil {
		k.t.Fatal(err)
	}
	return root
}

// nerdctl resolves and pulls by itself, with the folder of containerd. containerd only stores.
func TestNerdctl(t *testing.T) {
	k := newKit(t)
	folder := k.hostsFolder()
	pull := func(n *e2e.Node) error {
		_, err := n.Run(nil, tool(t, "nerdctl-v1.7.7"), "--address", n.ContainerdSocket(), "--namespace", "k8s.io", "--snapshotter", n.Snapshotter(),
			"--data-root", t.TempDir(), "--hosts-dir", folder, "pull", "--quiet", k.ref)
		if err == nil {
			n.Check(k.ref, k.image)
		}
		return err
	}
	k.both(pull)
	k.first.RemoveImage(k.ref)
	k.without(pull)
}
