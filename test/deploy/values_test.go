package deploy

import (
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/engine"
)

func TestValuesThatMakeNoSense(t *testing.T) {
	for text, want := range map[string]string{
		"mirrors: {}":                                              "mirrors",
		"image: {tag: 'a b'}":                                      "tag",
		"image: {digest: sha256:12}":                               "digest",
		"image: {repository: 'a@b'}":                               "repository",
		"image: {pullPolicy: Sometimes}":                           "pullPolicy",
		"platform: windows":                                        "platform",
		"mirror: {registries: ['http://x']}":                       "registries",
		"mirror: {enforce: true}":                                  "existing",
		"mirror: {enforce: true, existing: false}":                 "registries",
		"mirror: {enforce: true, existing: false, registries: []}": "registries",
		"config: {listen: '0.0.0.0:6050'}":                         "config",
		"config: {p2p-secret-file: [/x]}":                          "config",
		"config: {containerd-version: '2.0'}":                      "config",
		"config: {containerd-hosts-dir: /etc/containerd/certs.d}":  "config",
		"mirror: {containerdVersion: 2.0}":                         "containerdVersion",
		"mirror: {containerdVersion: two}":                         "containerdVersion",
		"config: {Log_Format: text}":                               "Log_Format",
		"config: {upstream: {a: b}}":                               "upstream",
		"resources: {limits: {memory: 1e9}}":                       "memory",
		"resources: {limits: {memory: null}}":                      "memory",
		"maxUnavailable: 0%":                                       "maxUnavailable",
		"metrics: {serviceMonitor: {interval: often}}":             "interval",
		"secret: {rotating: 'yes'}":                                "rotating",
	} {
		if _, err := values(t, loadChart(t), text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestValuesThatWouldHurt(t *testing.T) {
	for text, want := range map[string]string{
		"mirror: {enforce: true, existing: false, registries: [docker.io, ghcr.io]}":                          "own image comes from",
		"image: {repository: shoal/shoal}\nmirror: {enforce: true, existing: false, registries: [docker.io]}": "own image comes from",
		"metrics: {rules: {enabled: true}}": "need metrics.exposed",
	} {
		c := loadChart(t)
		v, err := values(t, c, text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (engine.Engine{}).RenderWithContext(t.Context(), c, v); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestValuesShow(t *testing.T) {
	all := chartObjects(t, `
image: {repository: registry.example:5000/shoal, digest: "sha256:`+strings.Repeat("a", 64)+`"}
imagePullSecrets: [{name: pull}]
config: {store-max-size: 100GiB, p2p-bootstrap: [node-a:6051]}
secret: {existing: mine}
seLinuxOptions: {type: spc_t}
resources: {limits: {memory: 2Gi}}
podLabels: {team: storage}
cleanup: false
networkPolicy: {enabled: false}
mirror: {enabled: false}
`)
	for _, gone := range []string{"Secret/shoal", "DaemonSet/shoal-cleanup", "NetworkPolicy/shoal"} {
		if all[gone] != nil {
			t.Errorf("%s is there", gone)
		}
	}
	text := pretty(t, all["DaemonSet/shoal"])
	for _, want := range []string{
		`"image": "registry.example:5000/shoal@sha256:aaaa`, `"value": "1740MiB"`, `"secretName": "mine"`, `"type": "spc_t"`,
		`"name": "pull"`, `"team": "storage"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if strings.Contains(text, "keep") {
		t.Error("there is a mirror")
	}
	settings := all["ConfigMap/shoal"].text("data", "shoal.yaml")
	if !strings.Contains(settings, "store-max-size: 100GiB") || strings.Contains(settings, "shoal:6051") {
		t.Error(settings)
	}
	if a, b := checksum(chartObjects(t, "")), checksum(chartObjects(t, "config: {zone: a}")); a == "" || a == b {
		t.Errorf("a changed setting does not show: %s, %s", a, b)
	}
}

// All that read containerd's configuration are told how.
func TestContainerdVersion(t *testing.T) {
	all := chartObjects(t, `mirror: {containerdVersion: "2.0"}`)
	for _, name := range []string{"DaemonSet/shoal", "DaemonSet/shoal-cleanup"} {
		for _, c := range containers(all[name]) {
			if args, _ := c.at("args").([]any); !slices.Contains(args, any("--containerd-version=2.0")) {
				t.Errorf("%s, %s: %v", name, c.text("name"), args)
			}
		}
	}
	if notes := notes(t, "platform: talos\nmirror: {containerdVersion: '1.7'}"); strings.Count(notes, "check") != 2 ||
		strings.Count(notes, " --hosts-dir /etc/cri/conf.d/hosts --containerd-version 1.7\n") != 2 {
		t.Error(notes)
	}
}

// What stays after the removal that the notes describe is named there.
func TestNotesNameTheNamespace(t *testing.T) {
	if text := notes(t, ""); !strings.Contains(text, "kubectl delete namespace "+namespace+"\n") {
		t.Error(text)
	}
	if text := notes(t, "cleanup: false"); strings.Contains(text, "delete") {
		t.Error(text)
	}
}

// notes is what helm says after an install.
func notes(t *testing.T, text string) string {
	t.Helper()
	return render(t, text)[notesFile]
}

func checksum(all objects) string {
	return all["DaemonSet/shoal"].text("spec", "template", "metadata", "annotations", "checksum/config")
}
