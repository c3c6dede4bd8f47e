package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// writeOverlay makes a kustomization of a user's own.
func (l *lab) writeOverlay(dir string) error {
	settings := fmt.Sprintf("log-format: json\np2p-bootstrap: [shoal:6051]\nupstream: ['%s=http://%s']\n", registryAddress, registryAddress)
	return errors.Join(
		l.writeKustomization(dir, "overlays/plain", "configMapGenerator: [{name: shoal, namespace: shoal-system, behavior: replace, files: [shoal.yaml]}]\n"+
			"secretGenerator: [{name: shoal, namespace: shoal-system, files: [secret]}]\n"),
		os.WriteFile(filepath.Join(dir, "secret"), []byte(strings.Repeat("0123456789abcdef", 4)+"\n"), 0o600),
		os.WriteFile(filepath.Join(dir, "shoal.yaml"), []byte(settings), 0o600))
}

func (l *lab) writeCleanup(dir string) error { return l.writeKustomization(dir, "cleanup", "") }

// writeKustomization makes one of a folder of deploy/daemonset, with the lab's image. A
// kustomization takes its resources from a folder by a relative name.
func (l *lab) writeKustomization(dir, of, more string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	base, err := filepath.Rel(dir, filepath.Join(l.options.checkout, "deploy", "daemonset", of))
	if err != nil {
		return err
	}
	text := fmt.Sprintf("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [%s]\nimages: [{name: shoal, newName: %q, newTag: two}]\n%s",
		base, shoalImage, more)
	return os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600)
}
