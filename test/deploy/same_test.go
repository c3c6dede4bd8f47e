package deploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// pairs are overlays and the values that mean the same.
func pairs() map[string][]string {
	const exposed = "metrics: {exposed: true, serviceMonitor: {enabled: true}, rules: {enabled: true}}\n"
	return map[string][]string{
		"":                     {".", "cleanup"},
		"platform: containerd": {"overlays/plain", "cleanup"},
		"platform: k3s":        {"overlays/k3s", "cleanup-rancher"},
		"platform: rke2":       {"overlays/rke2", "cleanup-rancher"},
		"platform: talos":      {"overlays/talos", "cleanup-talos"},
		exposed:                {"overlays/prometheus-operator", "cleanup"},
		"mirror: {registries: [docker.io], existing: false, enforce: true}": {"overlays/enforce", "cleanup"},
		"containerdContent: false": {"testdata/no-socket", "cleanup"},
		"secret: {rotating: true}": {"testdata/rotating", "cleanup"},
	}
}

func TestChartAndKustomizationsSayTheSame(t *testing.T) {
	for text, folders := range pairs() {
		t.Run(folders[0], func(t *testing.T) {
			if local, ok := strings.CutPrefix(folders[0], "testdata/"); ok {
				folders = []string{"../../test/deploy/testdata/" + local, folders[1]}
			}
			want := neutral(t, kustomizeObjects(t, folders...))
			got := neutral(t, chartObjects(t, "image: {repository: registry.example/shoal}\n"+text))
			if a, b := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)); !slices.Equal(a, b) {
				t.Fatalf("the chart has %v, kustomize %v", a, b)
			}
			for name := range want {
				if diff := cmp.Diff(want[name], got[name]); diff != "" {
					t.Errorf("%s: kustomize (-) and the chart (+) differ:\n%s", name, diff)
				}
			}
		})
	}
}

// neutral takes away what has to differ: the namespace and the secret, which the chart makes
// otherwise or not at all; the chart's labels; the two ways to see a changed setting.
func neutral(t *testing.T, all objects) objects {
	t.Helper()
	kept := objects{}
	for name, o := range all {
		kind, _, _ := strings.Cut(name, "/")
		if kind == "Namespace" || kind == "Secret" {
			continue
		}
		if kind == "ConfigMap" {
			name = "ConfigMap/shoal"
		}
		kept[name] = neutralObject(t, o)
	}
	return kept
}

func neutralObject(t *testing.T, o object) object {
	t.Helper()
	metadata, _ := o.at("metadata").(map[string]any)
	metadata["labels"] = map[string]any{"app.kubernetes.io/name": o.at("metadata", "labels", "app.kubernetes.io/name")}
	delete(metadata, "annotations")
	if o.text("kind") == "ConfigMap" {
		metadata["name"] = "shoal"
		var settings any
		if err := yaml.Unmarshal([]byte(o.text("data", "shoal.yaml")), &settings); err != nil {
			t.Fatal(err)
		}
		o["data"] = settings
	}
	if template, ok := o.at("spec", "template", "metadata").(map[string]any); ok {
		delete(template, "annotations")
	}
	for _, c := range containers(o) {
		name, _, _ := strings.Cut(c.text("image"), ":")
		c["image"] = path.Base(name)
		if args, ok := c["args"].([]any); ok { // the chart's order is another
			slices.SortFunc(args[1:], func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		}
	}
	for _, v := range o.list("spec", "template", "spec", "volumes") {
		if m, ok := v["configMap"].(map[string]any); ok {
			m["name"] = "shoal"
		}
	}
	return o
}

// containers are all of a workload.
func containers(o object) []object {
	return append(o.list("spec", "template", "spec", "initContainers"), o.list("spec", "template", "spec", "containers")...)
}

func pretty(t *testing.T, o object) string {
	t.Helper()
	text, err := json.MarshalIndent(o, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
