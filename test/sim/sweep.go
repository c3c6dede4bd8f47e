package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler/sim"
)

// finishSweep prints a table for docs/benchmarks.md and draws the figure, from medians over
// seeds for each number of nodes; the table has the worst beside them.
func finishSweep(w io.Writer, opts options, c sim.Case, sums []summary) error {
	_, _ = fmt.Fprintf(w, "\n| nodes | slowest node / bound (worst seed) | median node / bound | registry egress, x image (worst seed) |\n| --- | --- | --- | --- |\n")
	for _, s := range sums {
		_, _ = fmt.Fprintf(w, "| %d | %s (%s) | %s | %.3f (%.3f) |\n", s.Nodes,
			times(s.Middle.Slowest), times(s.Worst.Slowest), times(s.Middle.Median), s.Middle.Egress, s.Worst.Egress)
	}
	if opts.svg == "" {
		return nil
	}
	if err := os.WriteFile(opts.svg, []byte(drawSweep(c, sums, len(opts.seeds)).svg()), 0o644); err != nil { //nolint:gosec // a figure is for everybody
		return fmt.Errorf("write the figure: %w", err)
	}
	_, _ = fmt.Fprintf(w, "\ndrawn into %s\n", opts.svg)
	return nil
}

func drawSweep(c sim.Case, sums []summary, seeds int) figure {
	pick := func(name, color string, labels bool, value func(figures) float64) curve {
		out := curve{name: name, color: color, labels: labels}
		for _, s := range sums {
			out.nodes = append(out.nodes, s.Nodes)
			out.values = append(out.values, value(s.Middle))
		}
		return out
	}
	note := fmt.Sprintf("Simulated: %s, links of 100 Mbit/s; %s.", pulled(c), c.What)
	if seeds > 1 {
		note += fmt.Sprintf(" Medians of %d runs.", seeds)
	}
	return figure{
		title: "A crowd pulls at the same moment",
		note:  note,
		panels: [2]panel{
			{title: "Time, as a multiple of the bound", aim: c.Aim.Slowest, lines: []curve{
				pick("median node", second, false, func(f figures) float64 { return f.Median }),
				pick("slowest node", accent, true, func(f figures) float64 { return f.Slowest }),
			}},
			{title: "Registry egress, as a multiple of the image", aim: c.Aim.Egress, lines: []curve{
				pick("egress", accent, true, func(f figures) float64 { return f.Egress }),
			}},
		},
	}
}

// pulled is what every node of a case pulls, in words.
func pulled(c sim.Case) string {
	pulls := c.Config(1, 0).Images
	images := make([]string, 0, len(pulls))
	for _, layers := range pulls {
		var size blob.ByteCount
		for _, l := range layers {
			size += l
		}
		noun := "layers"
		if len(layers) == 1 {
			noun = "layer"
		}
		images = append(images, fmt.Sprintf("%d %s of %d MiB", len(layers), noun, size/blob.MiB))
	}
	return strings.Join(images, ", and ")
}
