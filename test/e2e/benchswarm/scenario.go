package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shoal-project/shoal/test/e2e"
)

// A scenario is one way in which nodes pull.
type scenario struct {
	name  string
	about string
	run   func(*trial)
	plain bool // no daemon takes part
}

// Sizes of scenarios with images of their own.
const (
	slowdown      = 10 // how much slower the slow node is
	manyLayers    = 24
	manyLayerSize = 2 * e2e.MiB
	tinyLayers    = 3
	tinyLayerSize = 100 << 10
	tinyPulls     = 5
)

// scenarios are all there are, in the order in which they run.
func scenarios() []scenario {
	return []scenario{
		{name: "direct", about: "all nodes at once from the registry, without Shoal", run: direct, plain: true},
		{name: "single", about: "one cold node alone through Shoal; beside a direct pull on the same node", run: single},
		{name: "flash", about: "all nodes at once, cold", run: flash},
		{name: "seeded", about: "one node has the image; then all others at once", run: seeded},
		{name: "staggered", about: "one more node begins each second", run: staggered},
		{name: "rolling", about: "a fifth of the nodes at a time, each batch when the one before is done", run: rolling},
		{name: "churn", about: "as flash; a third of the daemons are killed when they have a third of the image", run: churn},
		{name: "slow", about: "as flash, with one node at a tenth of the rate; the figures are the others'", run: slow},
		{name: "many-layers", about: fmt.Sprintf("as flash, with %d layers of 2 MiB", manyLayers), run: lotsOfLayers},
		{name: "tiny", about: fmt.Sprintf("%d layers of 100 KiB on one node of a swarm, %d times; beside direct pulls there", tinyLayers, tinyPulls), run: tiny},
	}
}

// chooseScenarios finds the scenarios of a list of names; an empty list is all of them.
func chooseScenarios(names string) ([]scenario, error) {
	all := scenarios()
	if names == "" {
		return all, nil
	}
	var chosen []scenario
	for name := range strings.SplitSeq(names, ",") {
		at := slices.IndexFunc(all, func(s scenario) bool { return s.name == name })
		if at < 0 {
			return nil, fmt.Errorf("there is no scenario %q; see --help", name)
		}
		chosen = append(chosen, all[at])
	}
	return chosen, nil
}

func direct(t *trial) {
	t.addNodes(t.opts.nodes, e2e.NoMirror)
	image := t.push(t.opts.layerSizes()...)
	t.timed(image, t.nodes, func() { t.pull(image, t.nodes...) })
}

func single(t *trial) {
	t.addNodes(1, e2e.WithFallback)
	t.startDaemons()
	t.compare(1, t.opts.layerSizes()...)
}

func flash(t *trial) {
	image := t.swarm(t.opts.layerSizes()...)
	t.timed(image, t.nodes, func() { t.pull(image, t.nodes...) })
}

func seeded(t *trial) {
	image := t.swarm(t.opts.layerSizes()...)
	t.step("one node pulls the image, so that it has it")
	t.seed(image, t.nodes[0])
	others := t.nodes[1:]
	t.timed(image, others, func() { t.pull(image, others...) })
}

func staggered(t *trial) {
	image := t.swarm(t.opts.layerSizes()...)
	t.timed(image, t.nodes, func() {
		for i, n := range t.nodes {
			if i > 0 {
				t.pass(time.Second)
			}
			t.begin(image, n)
		}
		t.wait()
	})
}

func rolling(t *trial) {
	image := t.swarm(t.opts.layerSizes()...)
	t.timed(image, t.nodes, func() {
		for batch := range slices.Chunk(t.nodes, (len(t.nodes)+4)/5) {
			t.pull(image, batch...)
		}
	})
}

func churn(t *trial) {
	image := t.swarm(t.opts.layerSizes()...)
	victims := t.nodes[len(t.nodes)-max(1, len(t.nodes)/3):]
	t.timed(image, t.nodes, func() {
		before := t.traffic()
		t.begin(image, t.nodes...)
		for _, n := range victims {
			t.await(n.Name+" to have a third of the image", func() bool {
				return t.traffic()[n.Number].Received-before[n.Number].Received >= image.Size()/3
			})
			t.kill(n)
		}
		t.wait()
	})
}

func slow(t *trial) {
	image := t.swarm(t.opts.layerSizes()...)
	others, last := t.nodes[:len(t.nodes)-1], t.nodes[len(t.nodes)-1]
	rate := (t.opts.rate / slowdown).String()
	last.Shape(rate, rate)
	t.timed(image, others, func() { t.pull(image, t.nodes...) })
	t.result.SlowSeconds = t.result.Seconds[len(others)]
	t.result.Seconds = t.result.Seconds[:len(others)]
}

func lotsOfLayers(t *trial) {
	image := t.swarm(slices.Repeat([]int64{manyLayerSize}, manyLayers)...)
	t.timed(image, t.nodes, func() { t.pull(image, t.nodes...) })
}

func tiny(t *trial) {
	t.addNodes(t.opts.nodes, e2e.WithFallback)
	t.startDaemons()
	t.compare(tinyPulls, slices.Repeat([]int64{tinyLayerSize}, tinyLayers)...)
}
