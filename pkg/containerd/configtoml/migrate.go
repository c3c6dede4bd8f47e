package configtoml

import (
	"errors"
	"strings"
)

// The sections that hold CRI's image settings, by generation.
const (
	oldSection = "io.containerd.grpc.v1.cri"
	newSection = "io.containerd.cri.v1.images"
)

// grpcSection holds containerd's address since version 4 of the format. Before that it was
// the table grpc.
const grpcSection = "io.containerd.server.v1.grpc"

// section is where a release looks for the settings of images.
func section(plugins map[string]any, release Release) map[string]any {
	name := newSection
	if release == One {
		name = oldSection
	}
	table, _ := plugins[name].(map[string]any)
	return table
}

// migrate brings a file to the newest version that the release knows, as far as images
// are concerned.
func (d *document) migrate(release Release) error {
	if d.Version < 2 {
		d.renameFirstVersion()
	}
	if release == One || d.Version >= release.formatMax() {
		return nil
	}
	old, ok := d.Plugins[oldSection]
	if !ok {
		return nil
	}
	from, ok := old.(map[string]any)
	if !ok {
		return errors.New("plugins." + oldSection + " is not a table")
	}
	to, ok := d.Plugins[newSection].(map[string]any)
	if !ok {
		if _, taken := d.Plugins[newSection]; taken {
			return errors.New("plugins." + newSection + " is not a table")
		}
		to = map[string]any{}
	}
	for _, key := range []string{"registry", "max_concurrent_downloads", "image_pull_with_sync_fs"} {
		if value, ok := from[key]; ok {
			to[key] = value
		}
	}
	if inner, ok := from["containerd"].(map[string]any); ok && inner["runtimes"] != nil {
		for _, key := range []string{"disable_snapshot_annotations", "discard_unpacked_layers"} {
			if value, ok := inner[key]; ok {
				to[key] = value
			}
		}
	}
	d.Plugins[newSection] = to
	return nil
}

// renameFirstVersion gives the plugins of a file without version their full names.
func (d *document) renameFirstVersion() {
	if cri, ok := d.Plugins["cri"]; ok {
		delete(d.Plugins, "cri")
		d.Plugins[oldSection] = cri
	}
	for i, name := range d.DisabledPlugins {
		if !strings.Contains(name, ".") {
			d.DisabledPlugins[i] = "io.containerd.grpc.v1." + name
		}
	}
}
