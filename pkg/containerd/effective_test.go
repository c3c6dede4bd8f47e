package containerd_test

import (
	"errors"
	"testing"

	"github.com/shoal-project/shoal/pkg/containerd"
)

// In a container the folder that the configuration names may be another, or not there.
func TestLookAtSaysWhenFoldersAreNotSeen(t *testing.T) {
	const k3sDir = "/var/lib/rancher/k3s/agent/etc/containerd"
	const mirror = "[host.'http://127.0.0.1:6050']\ncapabilities = ['pull', 'resolve']\n"
	in := func(folder string) string {
		return "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '" + folder + "'\n"
	}
	for name, c := range map[string]struct {
		files     files
		effective bool
		err       error
	}{
		"no configuration":             {files{}, false, containerd.ErrNoConfig},
		"no config_path":               {files{mainFile: "version = 3\n"}, false, nil},
		"no folder beside its file":    {files{mainFile: setting}, false, nil},
		"no folder where files are":    {files{mainFile: in("/opt/certs.d")}, false, containerd.ErrNoFolder},
		"k3s' file, mounted elsewhere": {files{mainFile: in(k3sDir + "/certs.d"), certsDir + "/docker.io/hosts.toml": mirror}, false, containerd.ErrNoFolder},
		"k3s' file in its place":       {files{k3sDir + "/config.toml": in(k3sDir + "/certs.d"), k3sDir + "/certs.d/docker.io/hosts.toml": mirror}, true, nil},
		"a folder elsewhere":           {files{mainFile: in("/opt/certs.d"), "/opt/certs.d/docker.io/hosts.toml": mirror}, true, nil},
		"an empty folder elsewhere":    {files{mainFile: in("/opt/certs.d"), "/opt/certs.d/": ""}, false, nil},
	} {
		look, err := containerd.LookAt(t.Context(), newMachine(t, c.files).options())
		if look.Effective != c.effective || look.Configured == errors.Is(err, containerd.ErrNoConfig) || !errors.Is(err, c.err) {
			t.Errorf("%s: %+v, %v", name, look, err)
		}
	}
}

// Talos' folder is named outright, and its containerd's configuration is not to be had.
func TestLookAtNamedFolder(t *testing.T) {
	const folder = "/etc/cri/conf.d/hosts"
	m := newMachine(t, files{folder + "/docker.io/hosts.toml": "[host.'http://127.0.0.1:6050']\ncapabilities = ['pull', 'resolve']\n"})
	o := m.options()
	o.HostsDir = folder
	if look, err := containerd.LookAt(t.Context(), o); look != (containerd.Look{Effective: true}) || err != nil {
		t.Errorf("%+v, %v", look, err)
	}
	m.remove(folder)
	if look, err := containerd.LookAt(t.Context(), o); look.Effective || !errors.Is(err, containerd.ErrNoFolder) {
		t.Errorf("%+v, %v", look, err)
	}
}
