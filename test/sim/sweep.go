package main

import (
	"fmt"
	"io"
	"os"

	"github.com/shoal-project/shoal/scheduler/sim"
)

// finishSweep prints a table for docs/benchmarks.md and draws the figure, from medians over
// seeds for each number of nodes.
func finishSweep(w io.Writer, opts options, c sim.Case, medians []measurement) error {
	_, _ = fmt.Fprintf(w, "\n| nodes | slowest node / bound | median node / bound | registry egress, x image |\n| --- | --- | --- | --- |\n")
	for _, m := range medians {
		_, _ = fmt.Fprintf(w, "| %d | %s | %s | %.3f |\n", m.Nodes, times(m.Slowest), times(m.Median), m.Egress)
	}
	if opts.svg == "" {
		return nil
	}
	if err := os.WriteFile(opts.svg, []byte(drawSweep(c, medians, len(opts.seeds)).svg()), 0o644); err != nil { //nolint:gosec // a figure is for everybody
		return fmt.Errorf("write the figure: %w", err)
	}
	_, _ = fmt.Fprintf(w, "\ndrawn into %s\n", opts.svg)
	return nil
}

func drawSweep(c sim.Case, medians []measurement, seeds int) figure {
	pick := func(name, color string, labels bool, value func(measurement) float64) curve {
		out := curve{name: name, color: color, labels: labels}
		for _, m := range medians {
			out.nodes = append(out.nodes, m.Nodes)
			out.values = append(out.values, value(m))
		}
		return out
	}
	note := fmt.Sprintf("Simulated: one layer of 1 GiB, links of 100 Mbit/s; %s.", c.What)
	if seeds > 1 {
		note += fmt.Sprintf(" Medians of %d runs.", seeds)
	}
	return figure{
		title: "A crowd pulls at the same moment",
		note:  note,
		panels: [2]panel{
			{title: "Time, as a multiple of the bound", aim: c.Aim.Slowest, lines: []curve{
				pick("median node", second, false, func(m measurement) float64 { return m.Median }),
				pick("slowest node", accent, true, func(m measurement) float64 { return m.Slowest }),
			}},
			{title: "Registry egress, as a multiple of the image", aim: c.Aim.Egress, lines: []curve{
				pick("egress", accent, true, func(m measurement) float64 { return m.Egress }),
			}},
		},
	}
}
