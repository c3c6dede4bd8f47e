package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/shoal-project/shoal/scheduler/sim"
)

// A report prints measurements as they come.
type report struct {
	opts   options
	board  *board
	groups []summary
	tally  tally
	broken bool
}

func newReport(opts options, board *board) *report {
	if !opts.json {
		_, _ = fmt.Fprintf(os.Stdout, "%-22s %5s %5s %9s %9s %9s %10s %8s\n",
			"CASE", "NODES", "SEED", "SLOWEST", "MEDIAN", "EGRESS", "EVENTS", "SECONDS")
	}
	return &report{opts: opts, board: board}
}

// add reports the runs of a case that differ in their seeds alone.
func (r *report) add(c sim.Case, runs []measurement) error {
	r.board.wipe()
	for _, m := range runs {
		if m.Case == "" {
			return nil // interrupted
		}
		r.broken = r.broken || m.Error != ""
		if r.opts.json {
			if err := printJSON(m); err != nil {
				return fmt.Errorf("print a run: %w", err)
			}
			continue
		}
		r.row(m, fmt.Sprint(m.Seed), "")
		if m.Error != "" {
			_, _ = fmt.Fprintln(os.Stdout, "  "+strings.ReplaceAll(m.Error, "\n", "\n  "))
		}
	}
	sum := summarize(c, runs)
	r.groups = append(r.groups, sum)
	r.tally.add(sum)
	if r.opts.json {
		return printJSON(sum)
	}
	r.row(sum.as(sum.Middle), "mid", "")
	r.row(sum.as(sum.Worst), "worst", sum.verdict(c))
	return nil
}

// as shows some of a summary's figures in a row.
func (s summary) as(f figures) measurement {
	return measurement{Case: s.Case, Nodes: s.Nodes, Slowest: f.Slowest, Median: f.Median, Egress: f.Egress}
}

func (r *report) row(m measurement, seed, verdict string) {
	events, wall := fmt.Sprint(m.Events), fmt.Sprintf("%.1f", m.Wall)
	if m.Events == 0 {
		events, wall = "", ""
	}
	_, _ = fmt.Fprintln(os.Stdout, strings.TrimRight(fmt.Sprintf("%-22s %5d %5s %9s %9s %9.3f %10s %8s  %s",
		m.Case, m.Nodes, seed, times(m.Slowest), times(m.Median), m.Egress, events, wall, verdict), " "))
}

// times shows a multiple of the bound.
func times(x float64) string {
	if x < 0 {
		return "never"
	}
	return fmt.Sprintf("%.3f", x)
}

// end sums up.
func (r *report) end() error {
	if r.opts.sweep != "" && !r.opts.json && len(r.groups) > 0 {
		if err := finishSweep(os.Stdout, r.opts, r.opts.cases[0], r.groups); err != nil {
			return err
		}
	}
	if !r.opts.json {
		_, _ = fmt.Fprintf(os.Stdout, "\n%s\n", &r.tally)
	}
	switch {
	case r.broken:
		return errBroken
	case len(r.tally.missed) > 0:
		return errMissed
	}
	return nil
}

// newWatch prints one line for each look at a network.
func newWatch(w io.Writer) func(sim.Moment) {
	_, _ = fmt.Fprintf(w, "%8s %14s %13s %6s %8s %8s %8s %9s %7s\n",
		"SECONDS", "REGISTRY MB/s", "PEERS MB/s", "IDLE", "LEAST", "MEDIAN", "MOST", "SERVABLE", "PROVEN")
	return func(m sim.Moment) {
		_, _ = fmt.Fprintf(w, "%8.1f %14.2f %13.2f %6d %7.1f%% %7.1f%% %7.1f%% %8.1f%% %7d\n",
			seconds(m.Now), float64(m.Upstream)/1e6, float64(m.Peers)/1e6, m.Idle, 100*m.Least, 100*m.Median, 100*m.Most, 100*m.Servable, m.Proven)
	}
}

// listCases prints the cases.
func listCases(w io.Writer) {
	for _, c := range sim.Cases() {
		_, _ = fmt.Fprintf(w, "%-22s %5d nodes  %-72s %s\n", c.Name, c.Nodes, c.What, aimText(c.Aim))
	}
}

func aimText(a sim.Aim) string {
	if a == (sim.Aim{}) {
		return ""
	}
	return fmt.Sprintf("slowest %.2f, egress %.2f", a.Slowest, max(0, a.Egress))
}
