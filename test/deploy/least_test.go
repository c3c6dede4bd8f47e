package deploy

import (
	"slices"
	"strings"
	"testing"
)

// folders are the only ones of the node that a container may see, and whether it may write.
func folders() map[string]map[string]bool {
	return map[string]map[string]bool{
		"shoal": {
			"/var/lib/shoal": true, "/etc/containerd": false, "/run/containerd": false, "/run/k3s/containerd": false,
			"/etc/cri/conf.d/hosts":                                                   false,
			"/var/lib/containerd/io.containerd.content.v1.content":                    false,
			"/var/lib/rancher/k3s/agent/containerd/io.containerd.content.v1.content":  false,
			"/var/lib/rancher/rke2/agent/containerd/io.containerd.content.v1.content": false,
			"/var/lib/rancher/k3s/agent/etc/containerd":                               false,
			"/var/lib/rancher/rke2/agent/etc/containerd":                              false,
		},
		"mirror": {
			"/etc/containerd": true, "/etc/cri/conf.d/hosts": true,
			"/var/lib/rancher/k3s/agent/etc/containerd": true, "/var/lib/rancher/rke2/agent/etc/containerd": true,
		},
		"cleanup": {"/etc/containerd": true, "/etc/cri/conf.d/hosts": true, "/var/lib": true},
		"done":    {"/etc/containerd": true, "/etc/cri/conf.d/hosts": true, "/var/lib": true},
	}
}

func TestNothingMoreThanNeeded(t *testing.T) {
	for text := range pairs() {
		for name, o := range chartObjects(t, text) {
			kind := o.text("kind")
			if strings.Contains(kind, "Role") || kind == "ServiceAccount" {
				t.Errorf("%q makes %s: no right at the API is needed", text, name)
			}
			if kind == "DaemonSet" {
				checkPod(t, name, o)
			}
		}
	}
}

func checkPod(t *testing.T, name string, o object) {
	t.Helper()
	pod := o.in("spec", "template", "spec")
	if pod.at("automountServiceAccountToken") != false || pod.at("enableServiceLinks") != false {
		t.Errorf("%s: it has a token or links", name)
	}
	if pod.text("securityContext", "seccompProfile", "type") != "RuntimeDefault" {
		t.Errorf("%s: no seccomp profile", name)
	}
	for _, key := range []string{"hostPID", "hostIPC"} {
		if pod.at(key) != nil {
			t.Errorf("%s: %s", name, key)
		}
	}
	onNode := map[string]string{}
	for _, v := range pod.list("volumes") {
		path := v.text("hostPath", "path")
		if path == "" {
			continue
		}
		onNode[v.text("name")] = path
		// The cleanup removes what a kubelet made there; /run is gone with the next boot.
		removed := strings.HasPrefix(path, "/var/lib/") || strings.HasPrefix(path, "/run/")
		if v.text("hostPath", "type") != "Directory" && !removed {
			t.Errorf("%s: %s would be made where it is missing, and left", name, path)
		}
	}
	for _, c := range containers(o) {
		security := c.in("securityContext")
		drop, _ := security.at("capabilities", "drop").([]any)
		if security.at("allowPrivilegeEscalation") != false || security.at("readOnlyRootFilesystem") != true ||
			!slices.Equal(drop, []any{"ALL"}) || security.at("capabilities", "add") != nil || security.at("privileged") != nil {
			t.Errorf("%s, %s: %v", name, c.text("name"), security)
		}
		for _, m := range c.list("volumeMounts") {
			path := onNode[m.text("name")]
			mayWrite, known := folders()[c.text("name")][path]
			if path != "" && (!known || !mayWrite && m.at("readOnly") != true) {
				t.Errorf("%s, %s: mounts %s, read-only %v", name, c.text("name"), path, m.at("readOnly"))
			}
			// Where it is on the node: containerd's configuration names such folders.
			if at := strings.TrimPrefix(m.text("mountPath"), "/host"); path != "" && at != path {
				t.Errorf("%s, %s: has %s at %s", name, c.text("name"), path, m.text("mountPath"))
			}
		}
		if c.text("resources", "limits", "memory") == "" {
			t.Errorf("%s, %s: no limit for memory", name, c.text("name"))
		}
	}
}

// Of the node the daemon is told only what it can see.
func TestDaemonSeesWhatItIsTold(t *testing.T) {
	for text := range pairs() {
		daemon := containers(chartObjects(t, text)["DaemonSet/shoal"])[0]
		told := map[string]string{
			"certs-dir":          "/etc/containerd/certs.d", // unless an argument says otherwise
			"containerd-content": "/var/lib/containerd/io.containerd.content.v1.content",
			"containerd-socket":  "/run/containerd/containerd.sock",
		}
		if strings.Contains(text, "talos") { // or it could not see what containerd reads
			told["containerd-hosts-dir"] = "no folder"
		}
		args, _ := daemon.at("args").([]any)
		for _, arg := range args {
			word, _ := arg.(string)
			key, value, _ := strings.Cut(strings.TrimPrefix(word, "--"), "=")
			if _, ok := told[key]; ok {
				told[key] = value
			}
		}
		if strings.HasPrefix(text, "containerdContent: false") {
			told = map[string]string{"certs-dir": told["certs-dir"]}
		}
		for key, place := range told {
			if !slices.ContainsFunc(daemon.list("volumeMounts"), func(m object) bool {
				folder := m.text("mountPath")
				return place == folder || strings.HasPrefix(place, folder+"/")
			}) {
				t.Errorf("%q: %s %s is not in the container", text, key, place)
			}
		}
	}
}
