package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	containerd "github.com/containerd/containerd/v2/client"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// lazySnapshotter unpacks nothing: it mounts layers, and reads of them what is read.
const lazySnapshotter = "stargz"

// criNamespace is where containerd's CRI plugin keeps its images.
const criNamespace = "k8s.io"

// A runtimeServer is one node's containerd, with the clients that speak to it.
type runtimeServer struct {
	*Process

	client      *containerd.Client
	images      cri.ImageServiceClient
	snapshotter string
	socket      string
}

// startContainerd runs a containerd for the node. Only its network and its paths are
// its own: it shares the sandbox's mount namespace with the lab, so that the lab
// can mount its snapshots.
func (n *Node) startContainerd() *runtimeServer {
	t := n.lab.t
	t.Helper()
	socket := filepath.Join(n.run, "containerd.sock")
	snapshotter := chooseSnapshotter(n.dir)
	if n.lab.site.Lazy {
		snapshotter = lazySnapshotter
		t.Cleanup(n.unmountLayers)
	}
	config := filepath.Join(n.dir, "containerd.toml")
	if err := os.WriteFile(config, []byte(n.containerdConfig(socket, snapshotter)), 0o600); err != nil {
		t.Fatal(err)
	}
	r := &runtimeServer{snapshotter: snapshotter, socket: socket}
	r.Process = n.lab.Start(n.Name+"-containerd", n.netns(), n.lab.site.Tools.Containerd, "--config", config)
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if r.client, err = containerd.NewWithConn(conn, containerd.WithDefaultNamespace(criNamespace)); err != nil {
		t.Fatal(err)
	}
	r.images = cri.NewImageServiceClient(conn)
	runtimes := cri.NewRuntimeServiceClient(conn)
	r.Await(func(ctx context.Context) error {
		_, imagesErr := r.images.ListImages(ctx, &cri.ListImagesRequest{})
		_, runtimeErr := runtimes.Version(ctx, &cri.VersionRequest{})
		return errors.Join(imagesErr, runtimeErr)
	})
	return r
}

// unmountLayers ends the mounts of layers that a killed containerd left.
func (n *Node) unmountLayers() {
	plugin := filepath.Join(n.dir, "containerd", "io.containerd.snapshotter.v1."+lazySnapshotter)
	left, _ := filepath.Glob(filepath.Join(plugin, "snapshotter", "snapshots", "*", "fs"))
	for _, layer := range left {
		_ = unix.Unmount(layer, unix.MNT_DETACH) // most are no mounts
	}
}

// ContainerdSocket is where the node's containerd answers.
func (n *Node) ContainerdSocket() string { return n.containerd.socket }

// Snapshotter is the one that the node's containerd unpacks images with.
func (n *Node) Snapshotter() string { return n.containerd.snapshotter }

// RestartContainerd stops the node's containerd, and starts it with what it had.
func (n *Node) RestartContainerd() {
	n.lab.t.Helper()
	if err := n.containerd.Stop(); err != nil {
		n.lab.t.Fatalf("stopping containerd on %s: %v", n.Name, err)
	}
	n.containerd = n.startContainerd()
}

// RemoveImage has containerd remove an image as the kubelet does, and what nothing else needs.
func (n *Node) RemoveImage(ref string) {
	n.lab.t.Helper()
	request := &cri.RemoveImageRequest{Image: &cri.ImageSpec{Image: ref}}
	if _, err := n.containerd.images.RemoveImage(n.lab.t.Context(), request); err != nil {
		n.lab.t.Fatalf("removing %s on %s: %v", ref, n.Name, err)
	}
}

// containerdConfig is containerd's configuration for the node.
func (n *Node) containerdConfig(socket, snapshotter string) string {
	in := func(name string) string { return filepath.Join(n.dir, name) }
	lines := []string{
		fmt.Sprintf("root = %q", in("containerd")),
		fmt.Sprintf("state = %q", filepath.Join(n.run, "containerd")),
		"imports = []",
		"disabled_plugins = ['io.containerd.nri.v1.nri', 'io.containerd.image-verifier.v1.bindir']",
		"[grpc]",
		fmt.Sprintf("address = %q", socket),
		"[ttrpc]",
		fmt.Sprintf("address = %q", socket+".ttrpc"),
		"[plugins.'io.containerd.internal.v1.opt']",
		fmt.Sprintf("path = %q", in("opt")),
	}
	const oomScore = "restrict_oom_score_adj = true" // needs no CAP_SYS_RESOURCE
	images := []string{
		fmt.Sprintf("snapshotter = %q", snapshotter),
		fmt.Sprintf("discard_unpacked_layers = %t", n.discards),
		fmt.Sprintf("disable_snapshot_annotations = %t", !n.lab.site.Lazy),
	}
	hosts, cni := fmt.Sprintf("config_path = %q", n.hostsFolder()), fmt.Sprintf("conf_dir = %q", in("cni"))
	if n.lab.site.Lazy {
		const plugin = "plugins.'io.containerd.snapshotter.v1." + lazySnapshotter + "'"
		lines = append(lines, "["+plugin+"]", "no_background_fetch = true", "["+plugin+".registry]", hosts)
	}
	if n.lab.site.OldContainerd {
		lines = slices.Concat([]string{"version = 2"}, lines, []string{"[plugins.'io.containerd.grpc.v1.cri']", oomScore},
			[]string{"[plugins.'io.containerd.grpc.v1.cri'.containerd]"}, images,
			[]string{"[plugins.'io.containerd.grpc.v1.cri'.registry]", hosts, "[plugins.'io.containerd.grpc.v1.cri'.cni]", cni})
	} else {
		lines = slices.Concat([]string{"version = 3"}, lines, []string{"[plugins.'io.containerd.cri.v1.images']"}, images,
			[]string{"[plugins.'io.containerd.cri.v1.images'.registry]", hosts},
			[]string{"[plugins.'io.containerd.cri.v1.runtime']", oomScore, "[plugins.'io.containerd.cri.v1.runtime'.cni]", cni})
	}
	return strings.Join(lines, "\n") + "\n"
}

// chooseSnapshotter takes overlayfs unless dir lies on an overlay itself, where the
// kernel refuses one more.
func chooseSnapshotter(dir string) string {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err == nil && fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return "native"
	}
	return "overlayfs"
}
