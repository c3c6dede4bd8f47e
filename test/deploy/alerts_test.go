package deploy

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

const operations = "../../docs/operations.md"

// Every alert is a query about series that a daemon has, its texts name labels that the
// query's result has, and it says where its runbook is.
func TestAlerts(t *testing.T) {
	known := daemonSeries(t)
	runbook := read(t, operations)
	rule := kustomizeObjects(t, "overlays/prometheus-operator")["PrometheusRule/shoal"]
	var found []string
	for _, group := range rule.list("spec", "groups") {
		for _, alert := range group.list("rules") {
			name := alert.text("alert")
			found = append(found, name)
			expression := known.check(t, name, alert.text("expr"))
			for _, label := range regexp.MustCompile(`\$labels\.(\w+)`).FindAllStringSubmatch(alert.text("annotations", "summary"), -1) {
				if has := known.labelsOf(expression); !slices.Contains(has, label[1]) {
					t.Errorf("%s: its summary names the label %s, and the result has %v", name, label[1], has)
				}
			}
			if want := "docs/operations.md#" + strings.ToLower(name); !strings.HasSuffix(alert.text("annotations", "runbook_url"), want) {
				t.Errorf("%s: its runbook is %s", name, alert.text("annotations", "runbook_url"))
			}
			if !strings.Contains(runbook, "\n#### "+name+"\n") {
				t.Errorf("%s: no runbook in docs/operations.md", name)
			}
		}
	}
	for _, heading := range regexp.MustCompile(`\n#### (Shoal\w+)\n`).FindAllStringSubmatch(runbook, -1) {
		if !slices.Contains(found, heading[1]) {
			t.Errorf("a runbook for %s, which is no alert", heading[1])
		}
	}
	if len(found) == 0 {
		t.Error("no alerts")
	}
}

// What the documents query exists, and they name all that does.
func TestMetricsOfTheDocuments(t *testing.T) {
	known := daemonSeries(t)
	_, text, _ := strings.Cut(read(t, operations), "\n## 8. ")
	text, _, _ = strings.Cut(text, "\n## 9. ")
	for metric := range known {
		if strings.HasPrefix(metric, "shoal_") && !strings.HasSuffix(metric, "_bucket") && !regexp.MustCompile("`"+metric+"[`{]").MatchString(text) {
			t.Errorf("docs/operations.md does not list %s", metric)
		}
	}
	_, dashboards, _ := strings.Cut(text, "\n### Dashboards")
	dashboards, _, _ = strings.Cut(dashboards, "\n### ")
	queries := regexp.MustCompile("`[^`]*shoal_[^`]*`").FindAllString(dashboards, -1)
	queries = append(queries, regexp.MustCompile("(?s)```promql\n.*?```").FindAllString(text, -1)...)
	for _, query := range queries {
		query = strings.TrimPrefix(strings.Trim(query, "`"), "promql\n")
		known.check(t, "docs/operations.md", query)
	}
	if len(queries) < 5 {
		t.Errorf("queries: %q", queries)
	}
}

// check parses a query and fails the test for what no daemon has.
func (s series) check(t *testing.T, where, query string) parser.Expr {
	t.Helper()
	expression, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		t.Fatalf("%s: %s: %v", where, query, err)
	}
	parser.Inspect(expression, func(node parser.Node, _ []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		if s[selector.Name] == nil {
			t.Errorf("%s: no metric %s", where, selector.Name)
			return nil
		}
		for _, m := range selector.LabelMatchers {
			if m.Name != model.MetricNameLabel && !slices.Contains(targetLabels(), m.Name) && !s.has(selector.Name, m) {
				t.Errorf("%s: no %s with %s", where, selector.Name, m)
			}
		}
		return nil
	})
	return expression
}

// has reports whether each of the values that a matcher names is one that the metric has.
func (s series) has(metric string, m *labels.Matcher) bool {
	values := []string{m.Value}
	if m.Type == labels.MatchRegexp || m.Type == labels.MatchNotRegexp {
		values = strings.Split(m.Value, "|")
	}
	for _, v := range values {
		if !slices.Contains(s[metric][m.Name], v) {
			return false
		}
	}
	return true
}

// labelsOf are those of a query's result.
func (s series) labelsOf(expression parser.Expr) []string {
	switch e := expression.(type) {
	case *parser.AggregateExpr:
		return e.Grouping
	case *parser.BinaryExpr:
		if _, isNumber := e.LHS.(*parser.NumberLiteral); isNumber {
			return s.labelsOf(e.RHS)
		}
		return s.labelsOf(e.LHS)
	case *parser.ParenExpr:
		return s.labelsOf(e.Expr)
	case *parser.Call:
		return s.labelsOf(e.Args[len(e.Args)-1])
	case *parser.MatrixSelector:
		return s.labelsOf(e.VectorSelector)
	case *parser.VectorSelector:
		all := targetLabels()
		for label := range s[e.Name] {
			all = append(all, label)
		}
		return all
	default:
		return nil
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
