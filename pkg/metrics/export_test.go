package metrics

import "github.com/prometheus/client_golang/prometheus"

// Registry lets the tests lint what is registered.
func Registry(m *Metrics) prometheus.Gatherer { return m.registry }
