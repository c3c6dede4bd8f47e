package deploy

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/shoal-project/shoal/pkg/admin"
	"github.com/shoal-project/shoal/pkg/metrics"
	"github.com/shoal-project/shoal/proxy"
)

// series are what a scrape of a daemon has: of each metric the labels, and of each label
// the values.
type series map[string]map[string][]string

// targetLabels are those that Prometheus adds to what it scrapes, and the ServiceMonitor's.
func targetLabels() []string { return []string{"instance", "job", "namespace", "pod", "node"} }

// daemonSeries scrapes the daemon's own collectors, each of which has something to tell.
func daemonSeries(t *testing.T) series {
	t.Helper()
	fine := func(context.Context) error { return nil }
	effective := true
	m, err := metrics.New(metrics.Config{
		Live: fine, Ready: fine,
		Status: func(context.Context) (admin.Status, error) {
			return admin.Status{Containerd: admin.Containerd{MirrorEffective: &effective}, Warnings: []admin.Warning{{Code: "no_secret"}}}, nil
		},
		Outcomes: func() (all []metrics.Outcome) {
			for _, c := range new(proxy.Proxy).Counts().Requests {
				all = append(all, metrics.Outcome{Kind: c.Kind.String(), Outcome: c.Outcome.String(), Count: c.N})
			}
			return all
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Quarantined("bad_chunk")
	request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	m.Instrument(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), request)
	answer := httptest.NewRecorder()
	m.Handler().ServeHTTP(answer, request)
	reader := expfmt.NewTextParser(model.UTF8Validation)
	families, err := reader.TextToMetricFamilies(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	all := series{"up": {}} // Prometheus' own
	for name, family := range families {
		all[name] = map[string][]string{}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				all[name][label.GetName()] = append(all[name][label.GetName()], label.GetValue())
			}
			if metric.GetHistogram() != nil {
				all[name+"_bucket"] = map[string][]string{"le": nil}
			}
		}
	}
	return all
}
