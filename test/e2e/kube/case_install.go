package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
)

const certsFolder = "/etc/containerd/certs.d"

// values are what the chart is told in the lab: where the image is, and that its registry
// speaks HTTP, under either of its names; then more settings of the daemons and more values,
// each with a comma in front.
func values(tag, settings, more string) string {
	return fmt.Sprintf(`{"image": {"repository": %q, "tag": %q},
 "config": {"log-format": "json", "log-level": "debug", "upstream": ["%s=http://%s", "%s=http://%s"]%s}%s}`,
		shoalImage, tag, registryAddress, registryAddress, enforcedRegistry, registryAddress, settings, more)
}

// helmWith runs helm install or upgrade with values.
func (l *lab) helmWith(command, values string, args ...string) error {
	file := filepath.Join(l.sandbox, "values.json")
	if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
		return err
	}
	_, err := l.helm(append([]string{command, "shoal", filepath.Join(l.options.checkout, "deploy", "helm", "shoal"), "--values", file}, args...)...)
	return err
}

// remember notes what the nodes have in their folder before Shoal.
func (l *lab) remember() error {
	for _, n := range l.nodes {
		files, err := n.files(certsFolder)
		if err != nil {
			return err
		}
		l.before[n.name] = files
		if l.disks[n.name], err = n.changed(); err != nil {
			return err
		}
	}
	return nil
}

// errLeft says that a removal was not complete.
var errLeft = errors.New("it should be as before")

// untouched fails unless a node's folder is byte for byte as before Shoal, and nothing has come
// or gone anywhere else on its disk.
func (l *lab) untouched(n *node) error {
	now, err := n.files(certsFolder)
	if err != nil {
		return err
	}
	if !maps.Equal(now, l.before[n.name]) {
		return fmt.Errorf("%s on %s is %q, and was %q", certsFolder, n.name, now, l.before[n.name])
	}
	path, err := n.path("/run/shoal") // no disk
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("/run/shoal is left on %s: %w", n.name, errors.Join(err, errLeft))
	}
	names, err := n.changed()
	if err != nil {
		return err
	}
	for _, pair := range [][2]map[string]bool{{names, l.disks[n.name]}, {l.disks[n.name], names}} {
		for name := range pair[0] {
			if !pair[1][name] {
				return fmt.Errorf("%s of %s has come or gone: %w", name, n.name, errLeft)
			}
		}
	}
	return nil
}

func install(l *lab) (string, error) {
	if err := l.remember(); err != nil {
		return "", err
	}
	if err := l.helmWith("install", values("one", "", ""), "--create-namespace"); err != nil {
		return "", err
	}
	if err := l.rollout("shoal"); err != nil {
		return "", err
	}
	for _, n := range l.nodes {
		if err := l.awaitMirror(n); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%.1f MiB of images from the registry for both nodes", float64(l.registry.blobs(""))/(1<<20)), nil
}

func dnsBootstrap(l *lab) (string, error) {
	for _, n := range l.nodes {
		if err := l.awaitMembers(n, 1); err != nil {
			return "", err
		}
	}
	for i, n := range l.nodes {
		status, err := l.status(n)
		if want := fmt.Sprintf("zone-%d", i+1); err != nil || status.Zone != want {
			return "", fmt.Errorf("%s is in zone %q, not %s: %w", n.name, status.Zone, want, err)
		}
	}
	return "one member each; each daemon knows the zone of its node", nil
}

func leastPrivilege(l *lab) (string, error) {
	n := l.nodes[0]
	pids, err := n.processes("shoal")
	if err != nil {
		return "", err
	}
	if len(pids) != 2 {
		return "", fmt.Errorf("%d processes of Shoal on %s, not the daemon and the mirror", len(pids), n.name)
	}
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return "", err
		}
		status := strings.Join(strings.Fields(string(text)), " ")
		for _, want := range []string{"CapEff: 0000000000000000", "CapPrm: 0000000000000000", "CapBnd: 0000000000000000", "NoNewPrivs: 1", "Seccomp: 2"} {
			if !strings.Contains(status, want) {
				return "", fmt.Errorf("process %d is not %q: %s", pid, want, status)
			}
		}
		mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
		if err != nil {
			return "", err
		}
		if first, _, _ := strings.Cut(string(mounts), "\n"); !strings.Contains(first, " / / ro,") {
			return "", fmt.Errorf("the root of process %d can be written: %s", pid, first)
		}
		if strings.Contains(string(mounts), "serviceaccount") {
			return "", fmt.Errorf("process %d has a token", pid)
		}
	}
	return "daemon and mirror: no capability, no new privileges, seccomp, read-only root, no token", nil
}

func mirrorCheck(l *lab) (string, error) {
	for _, n := range l.nodes {
		text, err := l.inShoal(n, "mirror", "containerd", "check", "--root", "/host")
		if err != nil {
			return "", err
		}
		if !strings.Contains(text, "Do pulls go through Shoal? yes") {
			return "", errors.New(text)
		}
		// The daemon's container sees the same files, and the socket that a pull takes.
		if _, err := l.inShoal(n, "shoal", "containerd", "check", "--probe"); err != nil {
			return "", err
		}
	}
	_, err := l.inShoal(l.nodes[0], "mirror", "containerd", "check", "--root", "/host", "--listen", "127.0.0.1:1", "-o", "json")
	if err == nil || !strings.Contains(err.Error(), "exit code 4") {
		return "", fmt.Errorf("another port: %w", err)
	}
	return "yes on both nodes, proven by a pull through CRI, exit code 4 for a port where Shoal is not", nil
}
