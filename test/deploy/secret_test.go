package deploy

import (
	"encoding/base64"
	"regexp"
	"testing"

	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/fake"
)

// A cluster holds the secret of an earlier install, or none.
type cluster struct{ secret object }

// GetClientFor implements engine.ClientProvider.
func (c cluster) GetClientFor(_, _ string) (dynamic.NamespaceableResourceInterface, bool, error) {
	resource := schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	kinds := map[schema.GroupVersionResource]string{resource: "SecretList"}
	var there []runtime.Object
	if c.secret != nil {
		there = append(there, &unstructured.Unstructured{Object: c.secret})
	}
	return fake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds, there...).Resource(resource), true, nil
}

// upgrade renders the secret as helm does against the cluster.
func (c cluster) upgrade(t *testing.T, text string) cluster {
	t.Helper()
	chart := loadChart(t)
	v, err := values(t, chart, text)
	if err != nil {
		t.Fatal(err)
	}
	files, err := engine.RenderWithClientProvider(chart, v, c)
	if err != nil {
		t.Fatal(err)
	}
	return cluster{decode(t, files["shoal/templates/secret.yaml"])["Secret/shoal"]}
}

func (c cluster) key(t *testing.T, name string) string {
	t.Helper()
	text, err := base64.StdEncoding.DecodeString(c.secret.text("data", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestSecretIsMadeOnceAndRotatedInTwoSteps(t *testing.T) {
	installed := cluster{}.upgrade(t, "")
	first := installed.key(t, "secret")
	if !regexp.MustCompile(`^[0-9a-f]{64}\n$`).MatchString(first) || installed.key(t, "previous") != "" {
		t.Fatalf("%q", installed.secret)
	}
	if other := (cluster{}).upgrade(t, ""); other.key(t, "secret") == first {
		t.Error("every cluster has the same secret")
	}
	kept := installed.upgrade(t, "config: {zone: a}")
	if kept.key(t, "secret") != first {
		t.Error("an upgrade makes another secret")
	}
	rotating := kept.upgrade(t, "secret: {rotating: true}")
	second := rotating.key(t, "secret")
	if second == first || rotating.key(t, "previous") != first {
		t.Errorf("the old one is not the previous one: %v", rotating.secret)
	}
	again := rotating.upgrade(t, "secret: {rotating: true}")
	if again.key(t, "secret") != second || again.key(t, "previous") != first {
		t.Errorf("a second upgrade goes on rotating: %v", again.secret)
	}
	rotated := again.upgrade(t, "")
	if rotated.key(t, "secret") != second || rotated.key(t, "previous") != "" {
		t.Errorf("the new one is not alone: %v", rotated.secret)
	}
}
