package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/shoal-project/shoal/scheduler/sim"
)

// Figures are what runs come to, by what they aim at; see measurement.
type figures struct {
	Slowest float64 `json:"slowest"`
	Median  float64 `json:"median"`
	Egress  float64 `json:"egress"`
}

// A summary is what the runs of a case came to that differ in their seeds alone. A case is
// judged by the worst of them.
type summary struct {
	Case   string   `json:"case"`
	Nodes  int      `json:"nodes"`
	Seeds  int      `json:"seeds"`
	Middle figures  `json:"median_of_seeds"`
	Worst  figures  `json:"worst_of_seeds"`
	Missed []string `json:"missed,omitempty"` // aims
	judged bool
}

// summarize sums up runs that were all played to their ends.
func summarize(c sim.Case, runs []measurement) summary {
	s := summary{Case: runs[0].Case, Nodes: runs[0].Nodes, Seeds: len(runs)}
	fold := func(f func(measurement) float64) (middle, worst float64) {
		values := make([]float64, 0, len(runs))
		for _, m := range runs {
			values = append(values, f(m))
		}
		slices.Sort(values)
		if values[0] < 0 { // a run without a result makes the whole one
			return values[0], values[0]
		}
		return values[(len(values)-1)/2], values[len(values)-1] // the lower of two
	}
	s.Middle.Slowest, s.Worst.Slowest = fold(func(m measurement) float64 { return m.Slowest })
	s.Middle.Median, s.Worst.Median = fold(func(m measurement) float64 { return m.Median })
	s.Middle.Egress, s.Worst.Egress = fold(func(m measurement) float64 { return m.Egress })
	s.judge(c)
	return s
}

// judge holds the worst against the aim. It is for as many nodes as the case is about: fewer
// are no excuse, more have none.
func (s *summary) judge(c sim.Case) {
	if c.Aim == (sim.Aim{}) || s.Nodes > c.Nodes {
		return
	}
	s.judged = true
	miss := func(name string, got, most float64) {
		if got < 0 || got > most {
			s.Missed = append(s.Missed, fmt.Sprintf("%s %.2f", name, most))
		}
	}
	if c.Aim.Slowest > 0 {
		miss("slowest", s.Worst.Slowest, c.Aim.Slowest)
	}
	if c.Aim.Egress != 0 {
		miss("egress", s.Worst.Egress, max(0, c.Aim.Egress))
	}
}

// verdict says the judgement on one line.
func (s summary) verdict(c sim.Case) string {
	switch {
	case !s.judged && c.Aim == (sim.Aim{}):
		return "no aim"
	case !s.judged:
		return fmt.Sprintf("no aim beyond %d nodes", c.Nodes)
	case len(s.Missed) > 0:
		return "✗ misses " + strings.Join(s.Missed, ", ")
	}
	return "✓ " + aimText(c.Aim)
}

// A tally counts judgements, for the last line.
type tally struct {
	judged int
	missed []string // cases with their nodes
}

func (t *tally) add(s summary) {
	if s.judged {
		t.judged++
	}
	if len(s.Missed) > 0 {
		t.missed = append(t.missed, fmt.Sprintf("%s (%d nodes)", s.Case, s.Nodes))
	}
}

func (t *tally) String() string {
	switch {
	case t.judged == 0:
		return "nothing was judged: no aim, or none for so many nodes"
	case len(t.missed) == 0:
		return fmt.Sprintf("all aims were met, by the worst seed of each: %d of %d", t.judged, t.judged)
	}
	return fmt.Sprintf("aims were MISSED by the worst seed in %d of %d: %s", len(t.missed), t.judged, strings.Join(t.missed, ", "))
}

// printJSON prints one line.
func printJSON(v any) error { return json.NewEncoder(os.Stdout).Encode(v) }
