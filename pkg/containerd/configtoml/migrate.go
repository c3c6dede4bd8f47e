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
func (r Release) section() string {
	if r == One {
		return oldSection
	}
	return newSection
}

// registryIn is the table of a section where config_path is; nil where there is none.
func registryIn(plugins map[string]any, section string) map[string]any {
	images, _ := plugins[section].(map[string]any)
	table, _ := images["registry"].(map[string]any)
	return table
}

// migrate brings plugins to the newest version of the format, as far as images are
// concerned. They have their full names.
func migrate(plugins map[string]any) error {
	old, ok := plugins[oldSection]
	if !ok {
		return nil
	}
	from, ok := old.(map[string]any)
	if !ok {
		return errors.New("plugins." + oldSection + " is not a table")
	}
	to, ok := plugins[newSection].(map[string]any)
	if !ok {
		if _, taken := plugins[newSection]; taken {
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
	plugins[newSection] = to
	// Both would share a registry, and a file merged later may still use the old name.
	delete(plugins, oldSection)
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
