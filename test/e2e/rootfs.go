package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/opencontainers/image-spec/identity"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Check mounts what containerd unpacked for ref and compares it file by file with the
// image that was pushed; then it runs the image's program, which hashes a file itself.
func (n *Node) Check(ref string, image Image) {
	t := n.lab.t
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	root, err := os.MkdirTemp(n.run, "rootfs")
	if err != nil {
		t.Fatal(err)
	}
	unmount, err := n.mountImage(ctx, ref, image, root)
	if err != nil {
		t.Fatalf("mounting %s on %s: %v", ref, n.Name, err)
	}
	defer unmount()
	found, err := listFiles(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, difference := range differences(image.Files, found) {
		t.Errorf("%s: %s", n.Name, difference)
	}
	n.runImage(ctx, root, image)
}

// mountImage mounts a read-only view of the image's top snapshot.
func (n *Node) mountImage(ctx context.Context, ref string, image Image, at string) (func(), error) {
	t, client := n.lab.t, n.containerd.client
	ctx, release, err := client.WithLease(namespaces.WithNamespace(ctx, criNamespace))
	if err != nil {
		return nil, err
	}
	stored, err := client.GetImage(ctx, ref)
	if err != nil {
		return nil, err
	}
	if got := stored.Target().Digest.String(); got != image.Digest {
		return nil, fmt.Errorf("containerd has digest %s, pushed was %s", got, image.Digest)
	}
	layers, err := stored.RootFS(ctx)
	if err != nil {
		return nil, err
	}
	key := "check-" + filepath.Base(at)
	snapshots := client.SnapshotService(n.containerd.snapshotter)
	mounts, err := snapshots.View(ctx, key, identity.ChainID(layers).String())
	if err != nil {
		return nil, err
	}
	if err := mount.All(mounts, at); err != nil {
		return nil, err
	}
	return func() {
		// A context of its own: the test's may have ended.
		ctx := context.WithoutCancel(ctx)
		if err := mount.UnmountAll(at, 0); err != nil {
			t.Errorf("unmounting %s: %v", at, err)
		}
		if err := snapshots.Remove(ctx, key); err != nil {
			t.Errorf("removing a snapshot: %v", err)
		}
		if err := release(ctx); err != nil {
			t.Errorf("releasing a lease: %v", err)
		}
	}, nil
}

// listFiles describes everything below root.
func listFiles(root string) (map[string]File, error) {
	files := make(map[string]File)
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == root {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		file := File{Mode: info.Mode()}
		switch {
		case info.Mode().IsRegular():
			file.Size = info.Size()
			file.Hash, err = hashFile(name)
		case info.Mode()&fs.ModeSymlink != 0:
			file.Mode = fs.ModeSymlink // a link's permissions mean nothing
			file.Link, err = os.Readlink(name)
		}
		files[strings.TrimPrefix(name, root+"/")] = file
		return err
	})
	return files, err
}

func hashFile(name string) ([32]byte, error) {
	f, err := os.Open(name) //nolint:gosec // what an image brought is the point
	if err != nil {
		return [32]byte{}, err
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return [32]byte{}, err
	}
	return [32]byte(h.Sum(nil)), nil
}

// differences names every file that is not what was pushed.
func differences(want, got map[string]File) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(want)) {
		file, ok := got[name]
		switch {
		case !ok:
			out = append(out, name+" is missing")
		case file != want[name]:
			out = append(out, fmt.Sprintf("%s is %+v, pushed was %+v", name, file, want[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok {
			out = append(out, name+" was never pushed")
		}
	}
	return out
}

// runImage runs the image's program in a container on the root file system.
func (n *Node) runImage(ctx context.Context, root string, image Image) {
	t := n.lab.t
	t.Helper()
	bundle, err := os.MkdirTemp(n.run, "bundle")
	if err != nil {
		t.Fatal(err)
	}
	const hashed = "etc/seed"
	spec := specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{Args: []string{"/" + helloPath, "/" + hashed}, Cwd: "/", NoNewPrivileges: true},
		Root:    &specs.Root{Path: root, Readonly: true},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755"}},
		},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace},
			{Type: specs.MountNamespace},
			{Type: specs.IPCNamespace},
			{Type: specs.UTSNamespace},
			{Type: specs.NetworkNamespace},
		}},
	}
	text, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "config.json"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	// Named after the sandbox, so that a crashed run's cgroups are found.
	id := fmt.Sprintf("%s-%s-%s", filepath.Base(filepath.Dir(n.lab.dir)), filepath.Base(n.lab.dir), n.Name)
	var said, complaints bytes.Buffer
	cmd := exec.CommandContext(ctx, n.lab.site.Tools.Runc, "--root", filepath.Join(n.run, "runc"), "run", "--bundle", bundle, id) //nolint:gosec // runc itself
	cmd.Stdout, cmd.Stderr = &said, &complaints
	if err := cmd.Run(); err != nil {
		t.Fatalf("running the image on %s: %v: %s", n.Name, err, complaints.String())
	}
	want := fmt.Sprintf("%x /%s\n", image.Files[hashed].Hash, hashed)
	if said.String() != want {
		t.Errorf("the image said %q on %s, want %q", said.String(), n.Name, want)
	}
}
