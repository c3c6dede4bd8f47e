package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoal-project/shoal/test/e2e"
)

// Docker Engine's registry-mirrors are for Docker Hub alone, and it names no registry to them.
func TestDockerEngine(t *testing.T) {
	k := newKit(t, "docker.io")
	docker := filepath.Join(tool(t, "docker"), "usr", "bin", "docker")
	k.both(func(n *e2e.Node) error {
		socket := k.startDocker(n)
		if _, err := n.Run(nil, docker, "-H", socket, "pull", "team/app:1"); err != nil {
			return err
		}
		said, err := n.Run(nil, docker, "-H", socket, "image", "inspect", "--format", "{{.RepoDigests}} {{len .RootFS.Layers}}", "team/app:1")
		if want := fmt.Sprintf("[team/app@%s] %d", k.image.Digest, len(k.image.Layers)); err == nil && !strings.Contains(said, want) {
			err = fmt.Errorf("it has %q, want %q", said, want)
		}
		return err
	})
}

// startDocker runs dockerd beside the node's containerd, and returns its address.
func (k *kit) startDocker(n *e2e.Node) string {
	t := k.t
	t.Helper()
	root, err := os.MkdirTemp("/run", "docker") // dockerd leaves mounts there, which go with the sandbox
	if err != nil {
		t.Fatal(err)
	}
	address := "unix://" + filepath.Join(root, "s")
	process := n.Start("dockerd", filepath.Join(tool(t, "docker"), "usr", "sbin", "dockerd"),
		"--host", address, "--containerd", n.ContainerdSocket(), "--data-root", filepath.Join(root, "data"), "--exec-root", root,
		"--pidfile", filepath.Join(root, "pid"), "--storage-driver", "vfs", "--iptables=false", "--ip6tables=false", "--bridge", "none",
		"--registry-mirror", "http://"+mirror)
	e2e.Eventually(t, time.Minute, process.Name+" to be ready", func() error {
		_, err := n.Run(nil, filepath.Join(tool(t, "docker"), "usr", "bin", "docker"), "-H", address, "version")
		return err
	})
	return address
}
