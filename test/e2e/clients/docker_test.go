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

// hub is the only registry that Docker Engine's registry-mirrors are for.
const (
	hub          = "docker.io"
	mirrorForHub = "--registry-mirror=http://" + mirror
)

// docker29 is the engine of Docker 29, under the version of its module.
const docker29 = "dockerd-v2.0.0-beta.24"

// Without the containerd image store, the engine names no registry to the mirror.
func TestDockerEngine(t *testing.T) {
	k := newKit(t, hub)
	hubs := k.startHubs()
	engines := []engine{
		{program: filepath.Join(tool(t, dockerFolder), "usr", "sbin", "dockerd"), flags: []string{mirrorForHub, "--storage-driver=vfs"}},
		{program: tool(t, docker29), flags: []string{mirrorForHub, "--storage-driver=vfs", "--feature=containerd-snapshotter=false"}},
	}
	for _, do := range []func(pull func(*e2e.Node) error){k.both, k.without} {
		for _, e := range engines {
			do(func(n *e2e.Node) error { return k.dockerPull(n, hubs[n].forEngine(e), "team/app") })
		}
	}
}

// With the containerd image store, which is the default since 29, it names the registry.
func TestDockerImageStore(t *testing.T) {
	k := newKit(t, hub)
	store := engine{program: tool(t, docker29), store: true, flags: []string{mirrorForHub}}
	hubs := k.startHubs()
	pull := func(n *e2e.Node) error { return k.dockerPull(n, hubs[n].forEngine(store), "team/app") }
	k.both(pull)
	k.without(pull)
}

// With the containerd image store, it also reads hosts.toml, for every registry.
func TestDockerHostsFolder(t *testing.T) {
	k := newKit(t)
	store := engine{program: tool(t, docker29), store: true, mounts: map[string]string{"/etc/docker": filepath.Dir(k.hostsFolder())}}
	pull := func(n *e2e.Node) error { return k.dockerPull(n, store, registry+"/team/app") }
	k.both(pull)
	k.without(pull)
}

// An engine is a dockerd and how it is set up.
type engine struct {
	program string
	flags   []string
	mounts  map[string]string // what it finds in the place of files and folders of the machine
	roots   string            // the file with the certificates that it trusts; empty for those of the machine
	store   bool              // it keeps images in containerd
}

// dockerPull runs an engine that has nothing yet, and has it pull the image under its tag. Then the
// image is removed: what containerd keeps of it, the next engine would not ask for.
func (k *kit) dockerPull(n *e2e.Node, e engine, repository string) error {
	process, socket := k.startDocker(n, e)
	defer process.Kill()
	docker := []string{filepath.Join(tool(k.t, dockerFolder), "usr", "bin", "docker"), "-H", socket}
	said, err := n.Run(nil, append(docker, "info", "--format", "{{.DriverStatus}}")...)
	if err == nil && strings.Contains(said, "snapshotter") != e.store {
		err = fmt.Errorf("it keeps images in %q", said)
	}
	if err != nil {
		return err
	}
	if _, err := n.Run(nil, append(docker, "pull", repository+":1")...); err != nil {
		return err
	}
	said, err = n.Run(nil, append(docker, "image", "inspect", "--format", "{{.RepoDigests}} {{len .RootFS.Layers}}", repository+":1")...)
	if want := fmt.Sprintf("[%s@%s] %d", repository, k.image.Digest, len(k.image.Layers)); err == nil && !strings.Contains(said, want) {
		err = fmt.Errorf("it has %q, want %q", said, want)
	}
	if err == nil {
		_, err = n.Run(nil, append(docker, "image", "rm", repository+":1")...)
	}
	return err
}

// startDocker runs dockerd beside the node's containerd, and returns its address.
func (k *kit) startDocker(n *e2e.Node, e engine) (*e2e.Process, string) {
	t := k.t
	t.Helper()
	k.daemons++
	root, err := os.MkdirTemp("/run", "docker") // dockerd leaves mounts there, which go with the sandbox
	if err != nil {
		t.Fatal(err)
	}
	address := "unix://" + filepath.Join(root, "s")
	argv := append([]string{
		e.program, "--host", address, "--containerd", n.ContainerdSocket(), "--containerd-namespace", filepath.Base(root),
		"--data-root", filepath.Join(root, "data"), "--exec-root", root, "--pidfile", filepath.Join(root, "pid"),
		"--iptables=false", "--ip6tables=false", "--bridge", "none", "--userland-proxy=false",
	}, e.flags...)
	if e.roots != "" {
		argv = append([]string{"env", "SSL_CERT_FILE=" + e.roots}, argv...)
	}
	for to, from := range e.mounts {
		argv = append([]string{"unshare", "--mount", "sh", "-ec", `mount --bind "$0" "$1"; shift; exec "$@"`, from, to}, argv...)
	}
	process := n.Start(fmt.Sprintf("dockerd-%d", k.daemons), argv...)
	e2e.Eventually(t, time.Minute, process.Name+" to be ready", func() error {
		_, err := n.Run(nil, filepath.Join(tool(t, dockerFolder), "usr", "bin", "docker"), "-H", address, "version")
		return err
	})
	return process, address
}
