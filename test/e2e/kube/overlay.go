package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// An overlay is a kustomization of a user's own.
type overlay struct {
	secret   string // 64 hex digits
	previous string // the same, while the secret is rotated
	settings string // lines of shoal.yaml besides those that the lab needs
}

// apply writes the overlay into a folder as docs/operations.md has it, and makes it so: one
// command, after which the nodes settle.
func (o overlay) apply(l *lab, dir string) error {
	settings := fmt.Sprintf("log-format: json\np2p-bootstrap: [shoal:6051]\nupstream: ['%s=http://%s']\n%s", registryAddress, registryAddress, o.settings)
	files, components := "secret", ""
	if o.previous != "" {
		rotating, err := l.relative(dir, "components/rotating")
		if err != nil {
			return err
		}
		files, components = "secret, previous", fmt.Sprintf("components: [%s]\n", rotating)
	}
	err := l.writeKustomization(dir, "overlays/plain", components+
		"configMapGenerator: [{name: shoal, namespace: shoal-system, behavior: replace, files: [shoal.yaml]}]\n"+
		fmt.Sprintf("secretGenerator: [{name: shoal, namespace: shoal-system, files: [%s]}]\n", files))
	for name, text := range map[string]string{"secret": o.secret + "\n", "previous": o.previous + "\n", "shoal.yaml": settings} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	if err != nil {
		return err
	}
	if _, err := l.kubectl("apply", "-k", dir); err != nil {
		return err
	}
	return l.settled()
}

func (l *lab) writeCleanup(dir string) error { return l.writeKustomization(dir, "cleanup", "") }

// relative names a folder of deploy/daemonset as a kustomization takes it, seen from its own.
func (l *lab) relative(dir, of string) (string, error) {
	return filepath.Rel(dir, filepath.Join(l.options.checkout, "deploy", "daemonset", of))
}

// writeKustomization makes one of a folder of deploy/daemonset, with the lab's image.
func (l *lab) writeKustomization(dir, of, more string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	base, err := l.relative(dir, of)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [%s]\nimages: [{name: shoal, newName: %q, newTag: two}]\n%s",
		base, shoalImage, more)
	return os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600)
}
