package clients

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/shoal-project/shoal/test/e2e"
)

// BuildKit pulls the base of a build through the mirror, and goes to the registry without it.
func TestBuildKit(t *testing.T) {
	k := newKit(t)
	config := k.write("buildkitd.toml", fmt.Sprintf(`
[registry.%q]
  mirrors = [%q]
  http = true
[registry.%q]
  http = true
`, k.lab.Registry.Host, mirror, mirror))
	build := filepath.Dir(k.write("Dockerfile", "FROM "+k.image.Tagged+"\nCOPY Dockerfile /\n"))
	pull := func(n *e2e.Node) error {
		address := k.startBuildKit(n, config)
		out := filepath.Join(t.TempDir(), "image.tar")
		_, err := n.Run(nil, tool(t, "buildctl-v0.34.2"), "--addr", address, "build", "--frontend", "dockerfile.v0",
			"--local", "context="+build, "--local", "dockerfile="+build, "--output", "type=oci,dest="+out)
		if err != nil {
			return err
		}
		info, err := os.Stat(out)
		if err == nil && info.Size() < k.image.Size() {
			err = fmt.Errorf("it built %d bytes on an image of %d", info.Size(), k.image.Size())
		}
		return err
	}
	k.both(pull)
	k.without(pull)
}

// startBuildKit runs a buildkitd that has nothing yet, and returns its address.
func (k *kit) startBuildKit(n *e2e.Node, config string) string {
	t := k.t
	t.Helper()
	k.daemons++
	run, err := os.MkdirTemp("/run", "buildkit") // short enough for a socket, and as long-lived as the sandbox
	if err != nil {
		t.Fatal(err)
	}
	address := "unix://" + filepath.Join(run, "s")
	process := n.Start(fmt.Sprintf("buildkitd-%d", k.daemons), tool(t, "buildkitd-v0.34.2"), "--config", config, "--root", t.TempDir(), "--addr", address,
		"--containerd-worker=false", "--oci-worker-snapshotter", "native", "--oci-worker-net", "host")
	e2e.Eventually(t, time.Minute, process.Name+" to be ready", func() error {
		_, err := n.Run(nil, tool(t, "buildctl-v0.34.2"), "--addr", address, "debug", "workers")
		return err
	})
	return address
}
