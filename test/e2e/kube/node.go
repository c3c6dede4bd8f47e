package main

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

//go:embed node.sh
var nodeScript string

// A node is a machine with a kubelet and a containerd, in namespaces of its own. Its disk
// outlives it: powerOn is a reboot.
type node struct {
	lab    *lab
	number int
	name   string
	disk   string
	init   *exec.Cmd // nil while it is off
}

func (l *lab) newNode(number int) (*node, error) {
	n := &node{lab: l, number: number, name: fmt.Sprintf("n%d", number)}
	n.disk = filepath.Join(l.sandbox, n.name)
	for _, dir := range []string{"etc-up", "etc-work", "var-up", "var-work", "opt-up", "opt-work", "containerd", "kubelet", "log"} {
		if err := os.MkdirAll(filepath.Join(n.disk, dir), 0o755); err != nil { //nolint:gosec // a machine's folders, for its containers too
			return nil, err
		}
	}
	return n, n.powerOn()
}

// address is where the other node and the control plane reach it.
func (n *node) address() string { return fmt.Sprintf("10.88.0.1%d", n.number) }

func (n *node) powerOn() error {
	l := n.lab
	if err := makeGroups(l.group, n.name); err != nil {
		return err
	}
	out, err := os.OpenFile(l.log(n.name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	// Not "ip netns exec": that mounts /sys anew, which hides the cgroups.
	command := exec.CommandContext(l.ctx, "nsenter", "--net=/run/netns/"+n.name, "unshare", "--mount", "--propagation", "private", //nolint:gosec // the lab's own
		"--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", nodeScript)
	command.Env = append(os.Environ(), "N="+strconv.Itoa(n.number), "DIR="+n.disk, "PKI="+l.pki(""), "BIN="+filepath.Join(l.options.cache, "bin"),
		"GROUP="+l.group, "REGISTRY="+registryAddress)
	command.Stdout, command.Stderr = out, out
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := command.Start(); err != nil {
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	n.init = command
	return nil
}

// powerOff ends every process of the node at once. Its cgroups go as well: a kubelet that finds
// those of an earlier life asks for their containers for half a minute.
func (n *node) powerOff() {
	if n.init == nil {
		return
	}
	_ = syscall.Kill(-n.init.Process.Pid, syscall.SIGKILL)
	_ = n.init.Wait()
	n.init = nil
	removeGroups(filepath.Join(n.lab.group, n.name))
}

// path is where a file of the running node is seen from here.
func (n *node) path(name string) (string, error) {
	init, err := n.first()
	return filepath.Join("/proc", strconv.Itoa(init), "root", name), err
}

// first is the process that is number 1 on the node.
func (n *node) first() (int, error) {
	if n.init == nil {
		return 0, errors.New(n.name + " is off")
	}
	pid := n.init.Process.Pid // that of unshare, whose only child is the node's first
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// processes are the node's, by the name of their program, as numbered here.
func (n *node) processes(program string) ([]int, error) {
	first, err := n.first()
	if err != nil {
		return nil, err
	}
	own, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", first))
	if err != nil {
		return nil, err
	}
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		return nil, err
	}
	var found []int
	for _, name := range names {
		text, err := os.ReadFile(name) //nolint:gosec // of /proc
		pid, numberErr := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err != nil || numberErr != nil || strings.TrimSpace(string(text)) != program {
			continue
		}
		if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)); err == nil && ns == own {
			found = append(found, pid)
		}
	}
	return found, nil
}

// files is every file and folder below a folder of the node, with mode and content.
func (n *node) files(folder string) (map[string]string, error) {
	root, err := n.path(folder)
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	err = filepath.Walk(root, func(name string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		text := info.Mode().String()
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(name) //nolint:gosec // the lab's own
			if err != nil {
				return err
			}
			text += " " + string(content)
		}
		all[strings.TrimPrefix(name, root)] = text
		return nil
	})
	return all, err
}

// changed are the names of all that the machine has in /etc, /var and /opt beyond its base
// image: the files of the overlays, also those that say that one is gone. Not among them are
// the folders of containerd and the kubelet, which are mounts, and what the plugins of the
// pods' network note of addresses.
func (n *node) changed() (map[string]bool, error) {
	all := map[string]bool{}
	for _, upper := range []string{"etc-up", "var-up", "opt-up"} {
		root := filepath.Join(n.disk, upper)
		err := filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if name == filepath.Join(root, "lib", "cni") {
				return fs.SkipDir
			}
			all[strings.TrimPrefix(name, n.disk)] = true
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// controllers are the cgroup hierarchies of the machine (cgroups(7), version 1; under
// version 2 there is one, without a name).
func controllers() []string {
	found, _ := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	if len(found) == 0 {
		return []string{"/sys/fs/cgroup"}
	}
	all := make([]string, len(found))
	for i, f := range found {
		all[i] = filepath.Dir(f)
	}
	return all
}

// makeGroups makes the cgroup below which a node's pods are.
func makeGroups(group, node string) error {
	for _, hierarchy := range controllers() {
		for _, dir := range []string{filepath.Join(hierarchy, group), filepath.Join(hierarchy, group, node)} {
			if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // as the kernel makes them
				return err
			}
			for _, inherited := range []string{"cpuset.cpus", "cpuset.mems"} { // empty at first, under version 1
				if text, err := os.ReadFile(filepath.Join(filepath.Dir(dir), inherited)); err == nil { //nolint:gosec // the kernel's
					_ = os.WriteFile(filepath.Join(dir, inherited), text, 0o600) //nolint:gosec // the kernel's
				}
			}
			if filepath.Base(hierarchy) == "memory" {
				_ = os.WriteFile(filepath.Join(dir, "memory.use_hierarchy"), []byte("1"), 0o600)
			}
		}
	}
	return nil
}

// removeGroups removes a group and all below, the deepest first. The kernel lets go of a
// group a moment after its last process.
func removeGroups(group string) {
	deadline := time.Now().Add(10 * time.Second)
	for _, hierarchy := range controllers() {
		for !removeGroup(filepath.Join(hierarchy, group)) && time.Now().Before(deadline) {
			time.Sleep(20 * time.Millisecond)
		}
	}
}

// removeGroup reports whether nothing is left.
func removeGroup(top string) bool {
	var dirs []string
	_ = filepath.WalkDir(top, func(name string, entry os.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, name)
		}
		return nil
	})
	for _, dir := range slices.Backward(dirs) {
		_ = os.Remove(dir)
	}
	_, err := os.Stat(top)
	return errors.Is(err, fs.ErrNotExist)
}
