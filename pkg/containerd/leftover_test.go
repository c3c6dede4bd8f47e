package containerd_test

import (
	"os"
	"testing"

	"github.com/shoal-project/shoal/pkg/containerd"
)

// What a kubelet made for a pod goes, and what anybody else has or made stays.
func TestRemoveEmptyContent(t *testing.T) {
	const plain, content = "/var/lib/containerd/", "io.containerd.content.v1.content/"
	const k3s = "/var/lib/rancher/k3s/agent/"
	for name, c := range map[string]struct{ before, after files }{
		"nothing there":                {files{}, files{}},
		"made for the pod":             {files{plain + content: ""}, files{}},
		"made for k3s where it is not": {files{k3s + "containerd/" + content: ""}, files{}},
		"with its own root elsewhere":  {files{k3s + "etc/x": "", k3s + "containerd/" + content: ""}, files{k3s + "etc/x": ""}},
		"containerd's": {
			files{plain + content + "ingest/": "", plain + "io.containerd.metadata.v1.bolt/": ""},
			files{plain + content + "ingest/": "", plain + "io.containerd.metadata.v1.bolt/": ""},
		},
		"the rest of containerd's": {files{plain + content: "", plain + "x": ""}, files{plain + "x": ""}},
		"behind a link":            {files{"/var/lib/containerd": "-> /data", "/data/": ""}, files{"/var/lib/containerd": "-> /data", "/data/": ""}},
		"a link to what is not seen": {
			files{"/var/lib/containerd": "-> /data/containerd"}, files{"/var/lib/containerd": "-> /data/containerd"},
		},
		"empty before":         {files{plain: ""}, files{plain: ""}},
		"empty before, of k3s": {files{"/var/lib/rancher/": ""}, files{"/var/lib/rancher/": ""}},
		"no folder":            {files{"/var/lib/containerd": ""}, files{"/var/lib/containerd": ""}},
	} {
		t.Run(name, func(t *testing.T) {
			lib := files{"/var/lib/other/": ""}
			m, want := newMachine(t, lib, c.before), newMachine(t, lib, c.after)
			for range 2 { // whenever it was interrupted it is run again
				if err := containerd.RemoveEmptyContent(m.root); err != nil {
					t.Fatal(err)
				}
			}
			for _, difference := range differences(want.snapshot(), m.snapshot()) {
				t.Error(difference)
			}
		})
	}
	if err := containerd.RemoveEmptyContent("/nowhere/at/all"); !os.IsNotExist(err) {
		t.Error(err)
	}
}
