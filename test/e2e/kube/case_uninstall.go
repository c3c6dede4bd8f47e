package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// gone waits until no daemon of Shoal is on the nodes that are up.
func (l *lab) gone(n *node) error {
	return l.eventually("the daemon of "+n.name+" to end", func() error {
		pids, err := n.processes("shoal")
		if err == nil && len(pids) != 0 {
			err = fmt.Errorf("processes %v", pids)
		}
		return err
	})
}

// cleaned waits until the cleanup has done its work on a node.
func (l *lab) cleaned(n *node) error {
	return l.eventually("the cleanup of "+n.name, func() error { return l.untouched(n) })
}

func uninstall(l *lab) (string, error) {
	up, down := l.nodes[0], l.nodes[1]
	down.powerOff()
	lines, err := os.ReadFile(filepath.Join(down.disk, "etc-up", "containerd", "certs.d", registryAddress, "hosts.toml"))
	if err != nil || !strings.Contains(string(lines), "shoal:begin") {
		return "", fmt.Errorf("a node without power has no mirror left: %q, %w", lines, err)
	}
	// Its containerd keeps content elsewhere, so that the kubelet made the folder that the pod mounts.
	if _, err := os.Stat(filepath.Join(down.disk, "var-up", "lib", "containerd", "io.containerd.content.v1.content")); err != nil {
		return "", fmt.Errorf("the node has nothing that only a pod wanted: %w", err)
	}
	if _, err := l.helm("uninstall", "shoal"); err != nil {
		return "", err
	}
	if err := l.cleaned(up); err != nil {
		return "", err
	}
	i, err := l.push("public/after", mib)
	if err != nil {
		return "", err
	}
	if err := l.run(pod{name: "after-1", node: "n1", image: i.tagged}); err != nil {
		return "", err
	}
	if err := errors.Join(down.powerOn(), l.awaitNode(down)); err != nil {
		return "", err
	}
	// What the outage left behind is no hindrance before the cleanup comes to it.
	if err := errors.Join(l.run(pod{name: "after-2", node: "n2", image: i.tagged}), l.cleaned(down), l.rollout("shoal-cleanup")); err != nil {
		return "", err
	}
	if err := l.onlyCleanupLeft(); err != nil {
		return "", err
	}
	return "certs.d byte for byte as before on both nodes, nothing come or gone in /etc, /var and /opt; pulls work; the node that was down is cleaned when it is back", nil
}

// onlyCleanupLeft fails if the cluster has anything of Shoal's, of whatever kind, but for the
// cleanup.
func (l *lab) onlyCleanupLeft() error {
	kinds, err := l.kubectl("api-resources", "--verbs=list", "-o", "name")
	if err != nil {
		return err
	}
	left, err := l.kubectl("get", strings.Join(strings.Fields(kinds), ","), "--all-namespaces",
		"-l", "app.kubernetes.io/name=shoal", "-o", "name")
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(left) {
		if _, name, _ := strings.Cut(name, "/"); !strings.HasPrefix(name, "shoal-cleanup") {
			return fmt.Errorf("left in the cluster: %q: %w", left, errLeft)
		}
	}
	if !strings.Contains(left, "daemonset.apps/shoal-cleanup") { // or nothing was looked at
		return fmt.Errorf("no cleanup in %q", left)
	}
	return nil
}
