package main

import (
	"github.com/shoal-project/shoal/test/e2e"
)

// A linkRecord is one check of the shaping, as main.go documents it.
type linkRecord struct {
	Record   string  `json:"record"`
	What     string  `json:"what"`
	Rate     bitrate `json:"rate"`
	Measured bitrate `json:"measured"`
}

// warmUp pulls an image on all nodes, so that every program and what it reads lies in
// memory, and then measures the links.
func (b *bench) warmUp() error {
	r := result{Scenario: "warm-up"}
	return b.perform(b.site, &r, func(t *trial) {
		t.addNodes(b.opts.nodes, e2e.WithFallback)
		t.startDaemons()
		image := t.push(e2e.MiB)
		t.step("pulling")
		t.pull(image, t.nodes...)
		t.step("measuring the links")
		for _, r := range t.measureLinks() {
			b.progress.done("%s: %.1f Mbit/s of payload, shaped to %s", r.What, float64(r.Measured)/1e6, r.Rate)
			if err := b.out.Encode(r); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// measureLinks sends through one node's link in both directions, and through the registry's.
func (t *trial) measureLinks() []linkRecord {
	all := make([]int, 0, len(t.nodes))
	for _, n := range t.nodes {
		all = append(all, n.Number)
	}
	first, others := all[:1], all[1:]
	records := []linkRecord{
		{What: "into one node", Rate: t.opts.rate},
		{What: "out of one node", Rate: t.opts.rate},
		{What: "out of the registry", Rate: min(t.opts.registryRate, t.opts.rate*bitrate(len(all)))},
	}
	for i, way := range []struct{ from, to []int }{{others, first}, {first, others}, {[]int{e2e.RegistryNode}, all}} {
		measured, err := t.lab.Rate(t.Context(), way.from, way.to)
		if err != nil {
			t.Fatalf("measuring %s: %v", records[i].What, err)
		}
		records[i].Record, records[i].Measured = "link", bitrate(measured)
	}
	return records
}
