package deploy

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const (
	chartFolder     = "../../deploy/helm/shoal"
	daemonsetFolder = "../../deploy/daemonset/"
	namespace       = "shoal-system"
)

// An object is one Kubernetes object as decoded JSON.
type object map[string]any

// objects are keyed by kind and name.
type objects map[string]object

func (o object) at(path ...string) any {
	var here any = map[string]any(o)
	for _, key := range path {
		m, ok := here.(map[string]any)
		if !ok {
			return nil
		}
		here = m[key]
	}
	return here
}

// list is the list at a path; nil where there is none.
func (o object) list(path ...string) []object {
	all, _ := o.at(path...).([]any)
	var found []object
	for _, one := range all {
		if m, ok := one.(map[string]any); ok {
			found = append(found, m)
		}
	}
	return found
}

// in is the object at a path, empty where there is none.
func (o object) in(path ...string) object {
	m, _ := o.at(path...).(map[string]any)
	return m
}

func (o object) text(path ...string) string {
	s, _ := o.at(path...).(string)
	return s
}

func decode(t *testing.T, documents ...string) objects {
	t.Helper()
	all := objects{}
	for _, document := range documents {
		for one := range strings.SplitSeq("\n"+document, "\n---\n") {
			var o object
			if err := yaml.Unmarshal([]byte(one), &o); err != nil {
				t.Fatalf("%v in %s", err, one)
			}
			if len(o) > 0 {
				all[o.text("kind")+"/"+o.text("metadata", "name")] = o
			}
		}
	}
	return all
}

func loadChart(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.Load(chartFolder)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// values are those of the chart with others laid over them, written as YAML.
func values(t *testing.T, c *chart.Chart, text string) (common.Values, error) {
	t.Helper()
	given, err := common.ReadValues([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	release := common.ReleaseOptions{Name: "shoal", Namespace: namespace, Revision: 1, IsInstall: true}
	return util.ToRenderValues(c, given, release, common.DefaultCapabilities)
}

// notesFile is the one that holds no object.
const notesFile = "shoal/templates/NOTES.txt"

// chartObjects renders the chart as "helm template" does, hooks as well.
func chartObjects(t *testing.T, text string) objects {
	t.Helper()
	files := render(t, text)
	delete(files, notesFile)
	return decode(t, slices.Collect(maps.Values(files))...)
}

// render is what comes of each file of the chart.
func render(t *testing.T, text string) map[string]string {
	t.Helper()
	c := loadChart(t)
	v, err := values(t, c, text)
	if err != nil {
		t.Fatal(err)
	}
	files, err := engine.Engine{}.RenderWithContext(t.Context(), c, v)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func kustomizeObjects(t *testing.T, folders ...string) objects {
	t.Helper()
	all := objects{}
	for _, folder := range folders {
		made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), daemonsetFolder+folder)
		if err != nil {
			t.Fatal(err)
		}
		text, err := made.AsYaml()
		if err != nil {
			t.Fatal(err)
		}
		maps.Copy(all, decode(t, string(text)))
	}
	return all
}
