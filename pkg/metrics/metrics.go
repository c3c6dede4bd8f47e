// Package metrics shows a daemon to Prometheus and to whoever probes its health.
//
// Figures that shoal status shows too are read from the same place when they are
// scraped, so that the two cannot differ; the package itself counts only what nobody
// else does. It opens no port and serves no content (promise P6).
package metrics

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/shoal-project/shoal/pkg/admin"
)

const (
	namespace = "shoal"
	// answerWait is how long a figure or a probe may take.
	answerWait = 5 * time.Second
)

// Config says what to show. All functions are called from many goroutines at once and
// return when the context they are given ends, which is soon.
type Config struct {
	// Version and Commit are those of the build.
	Version, Commit string
	// Status is where shoal status has its figures from. Required.
	Status func(context.Context) (admin.Status, error)
	// Outcomes tells how the proxy's requests ended; nil shows none.
	Outcomes func() []Outcome
	// Live returns an error when the daemon should be restarted: its engine does not
	// answer. Required.
	Live func(context.Context) error
	// Ready returns an error when clients should not be sent here yet. Required.
	Ready func(context.Context) error
	// Pprof adds Go's profiles under /debug/pprof/.
	Pprof bool
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// An Outcome is how many requests of one kind ended in one way since the start.
type Outcome struct {
	Kind, Outcome string
	Count         uint64
}

// Validate reports what is missing.
func (c Config) Validate() error {
	if c.Status == nil || c.Live == nil || c.Ready == nil {
		return errors.New("metrics: Status, Live and Ready are required")
	}
	return nil
}

// Metrics holds the collectors of one daemon, in a registry of their own. It is safe
// for concurrent use.
type Metrics struct {
	config      Config
	registry    *prometheus.Registry
	requests    *prometheus.CounterVec
	inFlight    prometheus.Gauge
	firstByte   *prometheus.HistogramVec
	quarantines *prometheus.CounterVec
	audits      prometheus.Counter
	reasons     reasons
}

// New registers everything.
func New(c Config) (*Metrics, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	m := &Metrics{
		config:   c,
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "http_requests_total",
			Help: "Requests of clients to the proxy, by what they asked for, method and status.",
		}, []string{"kind", "method", "code"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: namespace, Name: "http_requests_in_flight",
			Help: "Requests of clients that the proxy is answering now.",
		}),
		firstByte: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "http_first_byte_seconds",
			Help:    "Time from a client's request to the first byte of the body, or to the end of an answer without one.",
			Buckets: []float64{.001, .005, .025, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300},
		}, []string{"kind"}),
		quarantines: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "quarantines_total",
			Help: "Peers put into quarantine, by the class of the reason.",
		}, []string{"reason"}),
		audits: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "audits_total",
			Help: "Chunks of peers read again from the registry, to tell who lied.",
		}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info",
		Help:        "Always 1; the labels say which build runs.",
		ConstLabels: prometheus.Labels{"version": c.Version, "commit": c.Commit, "goversion": runtime.Version()},
	})
	build.Set(1)
	for _, collector := range []prometheus.Collector{
		m.requests, m.inFlight, m.firstByte, m.quarantines, m.audits, build,
		newStatusCollector(c),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := m.registry.Register(collector); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Quarantined counts one quarantine. The reason is a class, like "bad_chunk"; texts
// made for one case are counted as "other" once there are too many different ones.
func (m *Metrics) Quarantined(reason string) {
	m.quarantines.WithLabelValues(m.reasons.class(reason)).Inc()
}

// Audited counts one chunk that was read again from the registry, to tell who lied.
func (m *Metrics) Audited() { m.audits.Inc() }

// Handler serves /metrics, /healthz (liveness), /readyz and, if asked for, the profiles.
func (m *Metrics) Handler() http.Handler { return m.mux() }
