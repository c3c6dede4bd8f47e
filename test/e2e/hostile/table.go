package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// writeTable prints one line for each run, the honest ones first.
func writeTable(w io.Writer, honest, results []result) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(table, "MODE\tLIARS\tRETRIED\tPULLS\tSECONDS\tTIME\tEGRESS\tRATIO\tWRONG BYTES\tQUARANTINED\tAUDITS\tLIES\tBOUNDS\t")
	for _, list := range [][]result{honest, results} {
		for _, r := range list {
			verdict := "held"
			switch {
			case r.Error != "":
				verdict = "failed"
			case len(r.Broken) > 0:
				verdict = "BROKEN: " + strings.Join(r.Broken, "; ")
			}
			_, _ = fmt.Fprintf(table, "%s\t%d\t%d\t%d/%d\t%.2f\t%.2f x\t%.3f\t%.2f x\t%d\t%d\t%d\t%d\t%s\t\n",
				r.Mode, r.Colluders, r.Retried, r.PullsOK, r.Pulls, r.Seconds, r.TimeRatio, r.EgressImages, r.EgressRatio,
				r.WrongBytesServed, r.Quarantined, r.Audits, r.LiesTold, verdict)
		}
	}
	_ = table.Flush()
	_, _ = fmt.Fprint(w, "SECONDS is the slowest honest pull, EGRESS what the registry sent, in images; both beside runs in which nobody lies.\n"+
		"RETRIED is how many runs before, which were only late, this one stands for.\n")
}
