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

func kustomize(l *lab) (string, error) {
	overlay := filepath.Join(l.sandbox, "overlay")
	if err := l.writeOverlay(overlay); err != nil {
		return "", err
	}
	if _, err := l.kubectl("apply", "-k", overlay); err != nil {
		return "", err
	}
	if err := errors.Join(l.settled(), l.throughShoal("kustomized")); err != nil {
		return "", err
	}
	if _, err := l.kubectl("-n", namespace, "delete", "daemonset", "shoal-cleanup", "--ignore-not-found"); err != nil {
		return "", err
	}
	if _, err := l.kubectl("delete", "-k", overlay); err != nil {
		return "", err
	}
	for _, n := range l.nodes {
		if err := l.gone(n); err != nil {
			return "", err
		}
		if now, err := n.files(certsFolder); err != nil || len(now) != len(l.before[n.name]) {
			return "", fmt.Errorf("%s on %s is %v, %w", certsFolder, n.name, now, err)
		}
	}
	cleanup := filepath.Join(l.sandbox, "cleanup")
	if err := l.writeCleanup(cleanup); err != nil {
		return "", err
	}
	if _, err := l.kubectl("apply", "-k", cleanup); err != nil {
		return "", err
	}
	if err := l.rollout("shoal-cleanup"); err != nil {
		return "", err
	}
	for _, n := range l.nodes {
		if err := l.untouched(n); err != nil {
			return "", err
		}
	}
	_, err := l.kubectl("delete", "-k", cleanup)
	return "installed by one command over a cleanup, which gave way; deleted: the mirror went with the daemon, the rest with the cleanup", err
}
