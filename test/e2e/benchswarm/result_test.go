package main

import (
	"math"
	"reflect"
	"testing"

	"github.com/shoal-project/shoal/test/e2e"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{nil, 0},
		{[]float64{3}, 3},
		{[]float64{3, 1}, 2},
		{[]float64{9, 1, 2}, 2},
		{[]float64{4, 1, 3, 2}, 2.5},
	} {
		if got := median(c.values); got != c.want {
			t.Errorf("the median of %v is %v, want %v", c.values, got, c.want)
		}
	}
	unsorted := []float64{3, 1, 2}
	if median(unsorted); !reflect.DeepEqual(unsorted, []float64{3, 1, 2}) {
		t.Errorf("the values were changed to %v", unsorted)
	}
}

func TestFinish(t *testing.T) {
	r := result{
		Seconds: []float64{8, 4, 6}, ImageBytes: 50e6, EgressBytes: 150e6, timedParts: 2,
		CPUSeconds: 6, ClientBytes: 512 * e2e.MiB,
	}
	r.finish(100e6)
	want := r
	want.MinSeconds, want.MedianSeconds, want.MaxSeconds = 4, 6, 8
	want.LinkSeconds = 4       // 400 Mbit at 100 Mbit/s
	want.MaxOverLink = 2       // 8 s of 4 s
	want.EgressImages = 1.5    // 150 MB in two parts of 50 MB
	want.CPUSecondsPerGiB = 12 // 6 s for half a GiB
	if !reflect.DeepEqual(r, want) {
		t.Errorf("got  %+v\nwant %+v", r, want)
	}
}

// A round that failed before anything was pulled divides nothing by nothing.
func TestFinishNothing(t *testing.T) {
	r := result{}
	r.finish(100e6)
	if r.Seconds == nil {
		t.Error("the seconds are null in JSON")
	}
	for _, f := range []float64{r.MaxOverLink, r.EgressImages, r.CPUSecondsPerGiB} {
		if f != 0 || math.IsNaN(f) {
			t.Errorf("a ratio of nothing is %v", f)
		}
	}
}

func TestSummarize(t *testing.T) {
	round := func(scenario, build string, most float64, peak int64, failure string) result {
		return result{
			Scenario: scenario, Build: build, Nodes: 6, MaxSeconds: most, PeakBytes: peak, Error: failure,
			EgressBlobBytes: 90, EgressBytes: 100, EgressImages: 2, DirectSeconds: []float64{1, 5, 2},
		}
	}
	all := summarize([]result{
		round("flash", "checkout", 9, 10, ""),
		round("flash", "old", 1, 1, ""),
		round("seeded", "checkout", 2, 1, "lost"),
		round("flash", "checkout", 7, 30, ""),
		round("flash", "checkout", 100, 99, "late"),
		round("flash", "checkout", 8, 20, ""),
	})
	if len(all) != 3 {
		t.Fatalf("%d summaries, want 3: %+v", len(all), all)
	}
	want := summary{
		scenario: "flash", build: "checkout", nodes: 6, rounds: 3, failed: 1,
		max: 8, peak: 30, egress: 2, egressBlobs: 1.8, direct: 2,
	}
	if all[0] != want {
		t.Errorf("got  %+v\nwant %+v", all[0], want)
	}
	if all[1].build != "old" || all[1].max != 1 {
		t.Errorf("the other build: %+v", all[1])
	}
	if failed := (summary{scenario: "seeded", build: "checkout", failed: 1}); all[2] != failed {
		t.Errorf("got %+v, want %+v", all[2], failed)
	}
}
