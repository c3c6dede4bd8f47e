package metrics

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/shoal-project/shoal/pkg/admin"
)

// quarantinedMax bounds the peers that are shown by name: a label must not grow with what peers do.
const quarantinedMax = 64

// A figure is one number of the status.
type figure struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	labels []string
	value  func(admin.Status) float64
}

// A statusCollector reads the daemon's status when it is scraped. It is constant
// after newStatusCollector, and safe for concurrent use.
type statusCollector struct {
	config   Config
	figures  []figure
	answered *prometheus.Desc
	warning  *prometheus.Desc
	refused  *prometheus.Desc
	mirror   *prometheus.Desc
	outcomes *prometheus.Desc
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

func newStatusCollector(c Config) *statusCollector {
	return &statusCollector{
		config:   c,
		figures:  append(trafficFigures(), stateFigures()...),
		answered: describe("status_answered", "1 if the daemon's state could be read for this scrape, 0 if its figures are missing."),
		warning:  describe("warnings", "Things an operator should see to now, by code.", "code"),
		refused:  describe("quarantined_peer", "1 for each peer that is refused now, at most 64: those that are refused longest from now.", "peer"),
		mirror:   describe("containerd_mirror_effective", "1 if containerd asks Shoal first for the registries it was set up for; missing while that cannot be told."),
		outcomes: describe("proxy_outcomes_total", "Requests of clients by what they asked for and how they ended.", "kind", "outcome"),
	}
}

func trafficFigures() []figure {
	content := describe("content_bytes_total", "Bytes of content by where this node had them from.", "source")
	counter := func(d *prometheus.Desc, value func(admin.Traffic) float64, labels ...string) figure {
		return figure{desc: d, kind: prometheus.CounterValue, labels: labels, value: func(s admin.Status) float64 { return value(s.Traffic) }}
	}
	return []figure{
		counter(content, func(t admin.Traffic) float64 { return float64(t.FromRegistry) }, "registry"),
		counter(content, func(t admin.Traffic) float64 { return float64(t.FromPeers) }, "peers"),
		counter(content, func(t admin.Traffic) float64 { return float64(t.FromStore) }, "store"),
		counter(describe("upload_bytes_total", "Bytes of content sent to peers."),
			func(t admin.Traffic) float64 { return float64(t.ToPeers) }),
		counter(describe("client_bytes_total", "Bytes of content sent to clients."),
			func(t admin.Traffic) float64 { return float64(t.ToClients) }),
		counter(describe("upstream_requests_total", "Requests sent to upstream registries."),
			func(t admin.Traffic) float64 { return float64(t.UpstreamRequests) }),
	}
}

func stateFigures() []figure {
	gauge := func(name, help string, value func(admin.Status) float64) figure {
		return figure{desc: describe(name, help), kind: prometheus.GaugeValue, value: value}
	}
	return []figure{
		gauge("members", "Other members connected now.", func(s admin.Status) float64 { return float64(s.Members) }),
		gauge("downloads_in_progress", "Blobs on their way into the store.", func(s admin.Status) float64 { return float64(len(s.Downloads)) }),
		gauge("quarantined_peers", "Peers that are refused now.", func(s admin.Status) float64 { return float64(len(s.Quarantined)) }),
		gauge("store_blobs", "Proven blobs in the store.", func(s admin.Status) float64 { return float64(s.Store.Blobs) }),
		gauge("store_partial_blobs", "Blobs in the store that are not proven yet.", func(s admin.Status) float64 { return float64(s.Store.Partial) }),
		gauge("store_bytes", "Bytes that the store takes on disk.", func(s admin.Status) float64 { return float64(s.Store.Bytes) }),
		gauge("store_max_bytes", "Most bytes that the store may take; 0 is not known.", func(s admin.Status) float64 { return float64(s.Store.MaxBytes) }),
		gauge("containerd_followed", "1 while containerd says what it keeps.", func(s admin.Status) float64 { return flag(s.Containerd.Followed) }),
		gauge("containerd_blobs", "Proven blobs that containerd keeps, and that this node offers.", func(s admin.Status) float64 { return float64(s.Containerd.Blobs) }),
		gauge("containerd_bytes", "Bytes of these blobs.", func(s admin.Status) float64 { return float64(s.Containerd.Bytes) }),
		gauge("containerd_waiting_bytes", "Bytes that containerd keeps and that are to be proven.", func(s admin.Status) float64 { return float64(s.Containerd.WaitingBytes) }),
		gauge("start_time_seconds", "When the daemon started, in seconds since the epoch.", func(s admin.Status) float64 {
			if s.StartedAt.IsZero() {
				return 0
			}
			return float64(s.StartedAt.UnixMilli()) / 1000
		}),
	}
}

func flag(on bool) float64 {
	if on {
		return 1
	}
	return 0
}

// Describe implements prometheus.Collector.
func (c *statusCollector) Describe(out chan<- *prometheus.Desc) {
	sent := map[*prometheus.Desc]bool{}
	for _, f := range c.figures {
		if !sent[f.desc] {
			sent[f.desc] = true
			out <- f.desc
		}
	}
	out <- c.answered
	out <- c.warning
	out <- c.refused
	out <- c.mirror
	out <- c.outcomes
}

// Collect implements prometheus.Collector. When the status cannot be had, its figures
// are missing rather than wrong, and status_answered says so.
func (c *statusCollector) Collect(out chan<- prometheus.Metric) {
	// Prometheus' interface has no context to pass on: the wait is bounded here.
	ctx, cancel := context.WithTimeout(context.Background(), answerWait)
	defer cancel()
	if c.config.Outcomes != nil {
		for _, o := range c.config.Outcomes() {
			out <- prometheus.MustNewConstMetric(c.outcomes, prometheus.CounterValue, float64(o.Count), o.Kind, o.Outcome)
		}
	}
	status, err := c.config.Status(ctx)
	if err != nil {
		out <- prometheus.MustNewConstMetric(c.answered, prometheus.GaugeValue, 0)
		return
	}
	out <- prometheus.MustNewConstMetric(c.answered, prometheus.GaugeValue, 1)
	for _, f := range c.figures {
		out <- prometheus.MustNewConstMetric(f.desc, f.kind, f.value(status), f.labels...)
	}
	if effective := status.Containerd.MirrorEffective; effective != nil {
		out <- prometheus.MustNewConstMetric(c.mirror, prometheus.GaugeValue, flag(*effective))
	}
	c.collectRefused(status.Quarantined, out)
	byCode := map[string]int{}
	for _, w := range status.Warnings {
		byCode[w.Code]++
	}
	for code, n := range byCode {
		out <- prometheus.MustNewConstMetric(c.warning, prometheus.GaugeValue, float64(n), code)
	}
}

// collectRefused shows who is in quarantine. Of too many those whose sentence ends last are shown: they lied most often.
func (c *statusCollector) collectRefused(list []admin.Quarantine, out chan<- prometheus.Metric) {
	until := map[string]time.Time{} // a peer twice would fail the whole scrape
	for _, q := range list {
		id := strings.ToValidUTF8(q.PeerID, "?") // what a label must be
		if q.Until.After(until[id]) || until[id].IsZero() {
			until[id] = q.Until
		}
	}
	peers := slices.SortedFunc(maps.Keys(until), func(a, b string) int {
		return cmp.Or(until[b].Compare(until[a]), strings.Compare(a, b))
	})
	for _, id := range peers[:min(len(peers), quarantinedMax)] {
		out <- prometheus.MustNewConstMetric(c.refused, prometheus.GaugeValue, 1, id)
	}
}
