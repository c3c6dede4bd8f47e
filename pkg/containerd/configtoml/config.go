package configtoml

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// A Config is what containerd makes of its configuration, as far as mirrors go.
type Config struct {
	// Release is whose rules were followed.
	Release Release
	// Main is the file asked for. Missing is set where it does not exist: containerd uses
	// its defaults then, and reads no other file.
	Main    string
	Missing bool
	// Version is the main file's. For 2.0 to 2.2 it is the one that all files are taken for.
	Version int
	// Files were read, in this order; a later one counts more.
	Files []string

	// Path is config_path as it is written, and PathFile is where; both are empty where
	// it is not set.
	Path, PathFile string
	// Mirrors is set where the legacy registry.mirrors is used. It excludes Path.
	Mirrors bool
	// OlderPull is why the older path pulls images rather than the transfer service;
	// empty where it does not.
	OlderPull string
	// DiscardUnpackedLayers is set where containerd keeps no layer once it is unpacked.
	DiscardUnpackedLayers bool
	// Disabled is set where the CRI plugin is off, so that the kubelet cannot pull at all.
	Disabled bool
	// Socket is where containerd answers; empty where its default counts.
	Socket string
}

// Folders are where containerd looks for the folder of a registry, in order. There are
// none where it looks nowhere, or at a place that is not meant (Trapped).
func (c Config) Folders() []string {
	if c.Mirrors || c.Trapped() {
		return nil
	}
	list := c.Path
	if c.OlderPull != "" {
		list = cmp.Or(list, c.Release.emptyPath())
	}
	var folders []string
	for folder := range strings.SplitSeq(list, ":") {
		if folder != "" {
			folders = append(folders, path.Join("/", folder))
		}
	}
	return folders
}

// Trapped reports whether config_path is a list that the transfer service takes for the
// name of one folder, so that all mirrors are ignored without a word.
func (c Config) Trapped() bool { return c.OlderPull == "" && strings.Contains(c.Path, ":") }

// evaluate reads the merged sections.
func (c *Config) evaluate(plugins map[string]any, disabled []string) error {
	images, _ := plugins[c.Release.section()].(map[string]any)
	registry, err := table(images, "registry")
	if err != nil {
		return err
	}
	if c.Path, err = value(registry, "config_path", ""); err != nil {
		return err
	}
	mirrors, err := table(registry, "mirrors")
	if err != nil {
		return err
	}
	c.Mirrors = len(mirrors) > 0
	inner := images
	if c.Release == One {
		if inner, err = table(images, "containerd"); err != nil {
			return err
		}
	}
	if c.DiscardUnpackedLayers, err = value(inner, "discard_unpacked_layers", false); err != nil {
		return err
	}
	c.Disabled = slices.Contains(disabled, oldSection) || c.Release != One && slices.Contains(disabled, newSection)
	if c.OlderPull, err = olderPull(images, registry, c.Release); err != nil {
		return err
	}
	server, err := table(plugins, grpcSection)
	if err != nil {
		return err
	}
	c.Socket, err = value(server, "address", c.Socket)
	return err
}

// olderPull says why images are pulled by the older path; empty is not.
func olderPull(images, registry map[string]any, release Release) (string, error) {
	if !release.transfers() {
		return "containerd " + release.String(), nil
	}
	for _, key := range []string{"use_local_image_pull", "discard_unpacked_layers", "image_pull_with_sync_fs"} {
		set, err := value(images, key, false)
		if err != nil {
			return "", err
		}
		if set {
			return key, nil
		}
	}
	annotations, err := value(images, "disable_snapshot_annotations", true)
	if err != nil {
		return "", err
	}
	if !annotations {
		return "disable_snapshot_annotations = false", nil
	}
	downloads, err := value(images, "max_concurrent_downloads", int64(3))
	if err != nil {
		return "", err
	}
	if downloads != 3 {
		return fmt.Sprintf("max_concurrent_downloads = %d", downloads), nil
	}
	for _, key := range []string{"mirrors", "configs", "auths"} {
		legacy, err := table(registry, key)
		if err != nil {
			return "", err
		}
		if len(legacy) > 0 {
			return "registry." + key, nil
		}
	}
	return "", nil
}

// table is a table inside another; none is empty.
func table(of map[string]any, key string) (map[string]any, error) {
	inner, ok := of[key].(map[string]any)
	if of[key] != nil && !ok {
		return nil, errors.New(key + " is not a table")
	}
	return inner, nil
}

// value is a value of a table; none is the fallback.
func value[T any](of map[string]any, key string, fallback T) (T, error) {
	found, ok := of[key]
	if !ok {
		return fallback, nil
	}
	v, ok := found.(T)
	if !ok {
		return fallback, fmt.Errorf("%s is of the wrong type", key)
	}
	return v, nil
}
