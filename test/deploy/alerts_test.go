package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every alert is about metrics that exist, and says where its runbook is.
func TestAlerts(t *testing.T) {
	sources, err := filepath.Glob("../../pkg/metrics/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var known strings.Builder
	for _, name := range sources {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		known.Write(text)
	}
	runbook, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	rule := kustomizeObjects(t, "overlays/prometheus-operator")["PrometheusRule/shoal"]
	found := 0
	for _, group := range rule.list("spec", "groups") {
		for _, alert := range group.list("rules") {
			found++
			name := alert.text("alert")
			for _, metric := range regexp.MustCompile(`shoal_[a-z_]+`).FindAllString(alert.text("expr"), -1) {
				if !strings.Contains(known.String(), metric) && !strings.Contains(known.String(), `"`+strings.TrimPrefix(metric, "shoal_")+`"`) {
					t.Errorf("%s: no metric %s", name, metric)
				}
			}
			if want := "docs/operations.md#" + strings.ToLower(name); !strings.HasSuffix(alert.text("annotations", "runbook_url"), want) {
				t.Errorf("%s: its runbook is %s", name, alert.text("annotations", "runbook_url"))
			}
			if !strings.Contains(string(runbook), "\n#### "+name+"\n") {
				t.Errorf("%s: no runbook in docs/operations.md", name)
			}
		}
	}
	if found == 0 {
		t.Error("no alerts")
	}
}
