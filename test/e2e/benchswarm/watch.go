package main

import (
	"time"

	"github.com/shoal-project/shoal/test/e2e"
)

// samplingPeriod is the time between two looks at the links.
const samplingPeriod = 100 * time.Millisecond

// A sample is what has gone over every node's link at a moment, by the nodes' numbers.
type sample struct {
	at      time.Duration // since the timed part began
	traffic []e2e.Traffic // since then as well
}

// watched calls do, and meanwhile looks at the links: for the progress, which is that of
// the given nodes, for the timeline, and for the samples that it returns.
func (t *trial) watched(image e2e.Image, nodes []*e2e.Node, do func()) []sample {
	var samples []sample
	began, before := time.Now(), t.traffic()
	look := func() {
		traffic, err := t.lab.Traffic()
		if err != nil {
			t.Logf("no sample of the links: %v", err)
			return
		}
		for node := range traffic {
			traffic[node].Received -= before[node].Received
			traffic[node].Sent -= before[node].Sent
		}
		s := sample{at: time.Since(began), traffic: traffic}
		samples = append(samples, s)
		t.timeline.add(t.result, s)
		t.progress.update("%s pull %.1f MiB: %3.0f %%, %.1f s", counted(len(nodes), "node"),
			float64(image.Size())/e2e.MiB, 100*s.share(nodes, image.Size()), s.at.Seconds())
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(samplingPeriod)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				look()
			case <-done:
				return
			}
		}
	}()
	func() {
		defer func() {
			close(done)
			<-ended
		}()
		do()
	}()
	look()
	return samples
}

// share is how much of size bytes has come to each node, on average and at most 1.
func (s sample) share(nodes []*e2e.Node, size int64) float64 {
	var sum int64
	for _, n := range nodes {
		sum += min(s.traffic[n.Number].Received, size)
	}
	return float64(sum) / float64(size*int64(len(nodes)))
}

// arrived is when the slowest of the nodes had all but the last hundredth of what came to
// it in all.
func arrived(samples []sample, nodes []*e2e.Node) time.Duration {
	var latest time.Duration
	if len(samples) == 0 {
		return 0
	}
	for _, n := range nodes {
		last := samples[len(samples)-1].traffic[n.Number].Received
		for _, s := range samples {
			if s.traffic[n.Number].Received >= last-last/100 {
				latest = max(latest, s.at)
				break
			}
		}
	}
	return latest
}
