package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/shoal-project/shoal/test/e2e"
)

const legend = `MIN to MAX are of the pulls; LINK is what the image takes at the rate of a node's link. EGRESS is what the
registry sent of blobs, in images. CPU is that of all daemons, also for a GiB to clients; PEAK is one daemon's.
`

// writeTable prints one line for each summary; the build is a column only where there are
// several.
func writeTable(w io.Writer, all []summary) {
	builds := make(map[string]bool)
	for _, s := range all {
		builds[s.build] = true
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(build, scenario string, columns string) {
		if len(builds) > 1 {
			scenario += "\t" + build
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t\n", scenario, columns)
	}
	line("BUILD", "SCENARIO", "NODES\tMIN s\tMEDIAN s\tMAX s\tLINK s\tMAX/LINK\tEGRESS\tCPU s\tCPU s/GiB\tPEAK MiB")
	for _, s := range all {
		if s.rounds == 0 {
			line(s.build, s.scenario, "failed"+strings.Repeat("\t-", 9))
			continue
		}
		cpu, perGiB, peak := "-", "-", "-"
		if s.peak > 0 {
			cpu, perGiB, peak = fmt.Sprintf("%.2f", s.cpu), fmt.Sprintf("%.1f", s.cpuPerGiB), fmt.Sprintf("%d", s.peak/e2e.MiB)
		}
		overLink := "-"
		if s.link > 0.1 { // else it is not the link that takes time
			overLink = fmt.Sprintf("%.2f", s.overLink)
		}
		line(s.build, s.scenario, fmt.Sprintf("%d\t%.2f\t%.2f\t%.2f\t%.2f\t%s\t%.3f\t%s\t%s\t%s",
			s.nodes, s.min, s.median, s.max, s.link, overLink, s.egressBlobs, cpu, perGiB, peak))
	}
	_ = table.Flush()
	_, _ = fmt.Fprint(w, legend)
	for _, s := range all {
		if s.slow > 0 {
			_, _ = fmt.Fprintf(w, "%s: the slow node itself took %.1f s.\n", s.scenario, s.slow)
		}
		if s.failed > 0 {
			_, _ = fmt.Fprintf(w, "%s: %s failed.\n", s.scenario, counted(s.failed, "round"))
		}
	}
}
