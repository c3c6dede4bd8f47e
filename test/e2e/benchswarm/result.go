package main

import (
	"fmt"
	"slices"

	"github.com/shoal-project/shoal/test/e2e"
)

// A result is what one trial measured, as main.go documents it.
type result struct {
	Record           string    `json:"record"`
	Scenario         string    `json:"scenario"`
	Build            string    `json:"build"`
	Round            int       `json:"round"`
	Nodes            int       `json:"nodes"`
	ImageBytes       int64     `json:"image_bytes"`
	LinkSeconds      float64   `json:"link_seconds"`
	Seconds          []float64 `json:"seconds"`
	MinSeconds       float64   `json:"min_seconds"`
	MedianSeconds    float64   `json:"median_seconds"`
	MaxSeconds       float64   `json:"max_seconds"`
	MaxOverLink      float64   `json:"max_over_link"`
	ArrivedSeconds   float64   `json:"arrived_seconds"`
	SlowSeconds      float64   `json:"slow_seconds,omitzero"`
	DirectSeconds    []float64 `json:"direct_seconds,omitempty"`
	EgressBlobBytes  int64     `json:"egress_blob_bytes"`
	EgressBytes      int64     `json:"egress_bytes"`
	EgressImages     float64   `json:"egress_images"`
	ClientBytes      int64     `json:"client_bytes"`
	CPUSeconds       float64   `json:"cpu_seconds"`
	CPUSecondsPerGiB float64   `json:"cpu_seconds_per_gib"`
	PeakBytes        int64     `json:"peak_bytes"`
	Load             float64   `json:"load"`
	Error            string    `json:"error,omitempty"`

	timedParts int
}

// name is that of the trial, in messages and of the folder with its logs.
func (r *result) name() string {
	name := r.Scenario
	if r.Round > 0 {
		name = fmt.Sprintf("%s-%d", name, r.Round)
	}
	if r.Build != checkoutBuild && r.Build != "" {
		name += "-other"
	}
	return name
}

// finish computes what follows from what was measured, with nodes' links of that rate.
func (r *result) finish(rate bitrate) {
	if len(r.Seconds) == 0 {
		r.Seconds = []float64{} // never null in JSON
	} else {
		r.MinSeconds, r.MedianSeconds, r.MaxSeconds = slices.Min(r.Seconds), median(r.Seconds), slices.Max(r.Seconds)
	}
	r.LinkSeconds = rate.seconds(r.ImageBytes)
	r.MaxOverLink = ratio(r.MaxSeconds, r.LinkSeconds)
	r.EgressImages = ratio(float64(r.EgressBytes), float64(r.ImageBytes)*float64(r.timedParts))
	r.CPUSecondsPerGiB = ratio(r.CPUSeconds, float64(r.ClientBytes)/(1024*e2e.MiB))
}

// ratio is a / b, and 0 where b is nothing.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// median is the middle value, or the mean of the two in the middle; 0 of none.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	switch {
	case n == 0:
		return 0
	case n%2 == 1:
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// A summary is what the rounds of one scenario with one build come to: medians, and the
// most memory of all. Rounds that failed are left out.
type summary struct {
	scenario, build       string
	nodes, rounds, failed int
	imageBytes            int64
	min, median, max      float64 // seconds of the fastest, the middle and the slowest pull
	arrived               float64 // seconds until the last byte, about
	slow, direct          float64 // seconds; 0 where there was none
	link, overLink        float64 // seconds, and max / link
	egressBlobs, egress   float64 // images; blobs alone, and everything
	cpu, cpuPerGiB        float64 // seconds
	peak                  int64   // bytes
}

// summarize groups results by scenario and build, in the order of their first.
func summarize(results []result) []summary {
	type key struct{ scenario, build string }
	var order []key
	rounds := make(map[key][]result)
	for _, r := range results {
		k := key{r.Scenario, r.Build}
		if rounds[k] == nil {
			order = append(order, k)
		}
		rounds[k] = append(rounds[k], r)
	}
	all := make([]summary, 0, len(order))
	for _, k := range order {
		all = append(all, summarizeRounds(rounds[k]))
	}
	return all
}

// summarizeRounds is the summary of at least one result, all of one scenario and build.
func summarizeRounds(rounds []result) summary {
	s := summary{scenario: rounds[0].Scenario, build: rounds[0].Build}
	good := slices.DeleteFunc(slices.Clone(rounds), func(r result) bool { return r.Error != "" })
	s.rounds, s.failed = len(good), len(rounds)-len(good)
	if len(good) == 0 {
		return s
	}
	of := func(value func(result) float64) float64 {
		values := make([]float64, 0, len(good))
		for _, r := range good {
			values = append(values, value(r))
		}
		return median(values)
	}
	s.nodes, s.imageBytes = good[0].Nodes, good[0].ImageBytes
	s.min = of(func(r result) float64 { return r.MinSeconds })
	s.median = of(func(r result) float64 { return r.MedianSeconds })
	s.max = of(func(r result) float64 { return r.MaxSeconds })
	s.arrived = of(func(r result) float64 { return r.ArrivedSeconds })
	s.slow = of(func(r result) float64 { return r.SlowSeconds })
	s.direct = of(func(r result) float64 { return median(r.DirectSeconds) })
	s.link = of(func(r result) float64 { return r.LinkSeconds })
	s.overLink = of(func(r result) float64 { return r.MaxOverLink })
	s.egress = of(func(r result) float64 { return r.EgressImages })
	s.egressBlobs = of(func(r result) float64 {
		return ratio(float64(r.EgressBlobBytes)*r.EgressImages, float64(r.EgressBytes))
	})
	s.cpu = of(func(r result) float64 { return r.CPUSeconds })
	s.cpuPerGiB = of(func(r result) float64 { return r.CPUSecondsPerGiB })
	for _, r := range good {
		s.peak = max(s.peak, r.PeakBytes)
	}
	return s
}
