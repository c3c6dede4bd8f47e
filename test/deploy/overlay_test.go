package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// The overlay that the documents show is all that an install takes: the pods have the secret
// and the settings that lie beside it.
func TestOverlayOfTheDocuments(t *testing.T) {
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(read(t, daemonsetFolder+"README.md"))
	if blocks == nil {
		t.Fatal("no overlay in README.md")
	}
	folder := t.TempDir()
	base, err := filepath.Abs(daemonsetFolder)
	if err == nil {
		base, err = filepath.Rel(folder, base)
	}
	if err != nil {
		t.Fatal(err)
	}
	remote := regexp.MustCompile(`https://github\.com/shoal-project/shoal/deploy/daemonset/(\S+)\?ref=\S+`)
	for name, text := range map[string]string{
		"kustomization.yaml": remote.ReplaceAllString(blocks[1], base+"/$1"),
		"shoal.yaml":         read(t, daemonsetFolder+"base/shoal.yaml"),
		"secret":             strings.Repeat("5", 64) + "\n",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		t.Fatal(err)
	}
	text, err := made.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	all := decode(t, string(text))
	daemon := all["DaemonSet/shoal"]
	for _, v := range daemon.list("spec", "template", "spec", "volumes") {
		if name := v.text("secret", "secretName"); v.text("name") == "secret" && (all["Secret/"+name] == nil || name == "shoal") {
			t.Errorf("the pods want the secret %s", name)
		}
		if name := v.text("configMap", "name"); v.text("name") == "config" && (all["ConfigMap/"+name] == nil || name == "shoal") {
			t.Errorf("the pods want the settings %s", name)
		}
	}
	if image := containers(daemon)[0].text("image"); image != "registry.example/shoal:v0.1.0" {
		t.Errorf("the image is %s", image)
	}
}
