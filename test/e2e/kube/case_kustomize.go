package main

import (
	"fmt"
	"path/filepath"
	"strings"
)

func kustomize(l *lab) (string, error) {
	dir := filepath.Join(l.sandbox, "overlay")
	installed := overlay{secret: strings.Repeat("0123456789abcdef", 4)}
	if err := installed.apply(l, dir); err != nil {
		return "", err
	}
	if err := l.throughShoal("kustomized"); err != nil {
		return "", err
	}
	if err := l.rotateOverlay(dir, installed.secret); err != nil {
		return "", err
	}
	if _, err := l.kubectl("-n", namespace, "delete", "daemonset", "shoal-cleanup", "--ignore-not-found"); err != nil {
		return "", err
	}
	if _, err := l.kubectl("delete", "-k", dir); err != nil {
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
	return "installed by one command over a cleanup, which gave way; another setting and a rotated secret by two more; " +
		"deleted: the mirror went with the daemon, the rest with the cleanup", l.cleanUpOverlay()
}

// rotateOverlay changes a setting and the secret of what is installed, in the two steps that
// docs/operations.md has.
func (l *lab) rotateOverlay(dir, previous string) error {
	before, err := l.mounted()
	if err != nil {
		return err
	}
	next := overlay{secret: strings.Repeat("fedcba9876543210", 4), previous: previous, settings: "background-max-size: 1GiB\n"}
	if err := next.apply(l, dir); err != nil {
		return err
	}
	next.previous = ""
	if err := next.apply(l, dir); err != nil {
		return err
	}
	after, err := l.mounted()
	if err == nil && (after[0] == before[0] || after[1] == before[1]) {
		err = fmt.Errorf("the pods had %q and have %q", before, after)
	}
	if err != nil {
		return err
	}
	return l.throughShoal("rotated")
}

// mounted are the names of the ConfigMap and of the Secret that the daemons have.
func (l *lab) mounted() (names [2]string, err error) {
	text, err := l.kubectl("-n", namespace, "get", "daemonset", "shoal",
		"-o", "jsonpath={.spec.template.spec.volumes[*].configMap.name} {.spec.template.spec.volumes[*].secret.secretName}")
	if err != nil {
		return names, err
	}
	settings, secret, _ := strings.Cut(text, " ")
	return [2]string{settings, secret}, nil
}

// cleanUpOverlay takes what is left off the nodes, and then what did so.
func (l *lab) cleanUpOverlay() error {
	dir := filepath.Join(l.sandbox, "cleanup")
	if err := l.writeCleanup(dir); err != nil {
		return err
	}
	if _, err := l.kubectl("apply", "-k", dir); err != nil {
		return err
	}
	if err := l.rollout("shoal-cleanup"); err != nil {
		return err
	}
	for _, n := range l.nodes {
		if err := l.untouched(n); err != nil {
			return err
		}
	}
	_, err := l.kubectl("delete", "-k", dir)
	return err
}
