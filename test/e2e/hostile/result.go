package main

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/shoal-project/shoal/test/e2e/liar"
)

// honest is the mode of a run in which nobody lies.
const honest = "honest"

// A result is what one run measured, as main.go documents it.
type result struct {
	Mode              string   `json:"mode"`
	Colluders         int      `json:"colluders"`
	Round             int      `json:"round"`
	Retried           int      `json:"retried"`
	Pulls             int      `json:"pulls"`
	PullsOK           int      `json:"pulls_ok"`
	WrongBytesServed  int64    `json:"wrong_bytes_served"`
	Seconds           float64  `json:"seconds"`
	TimeRatio         float64  `json:"time_ratio"`
	EgressImages      float64  `json:"egress_images"`
	EgressRatio       float64  `json:"egress_ratio"`
	Quarantined       int      `json:"quarantined"`
	Unnamed           int      `json:"unnamed"`
	HonestQuarantined int      `json:"honest_quarantined"`
	Sentences         int      `json:"sentences"`
	Unexplained       int      `json:"unexplained"`
	Audits            int      `json:"audits"`
	LiesTold          int64    `json:"lies_told"`
	Recorded          int      `json:"recorded"`
	Chains            int      `json:"chains"`
	Load              float64  `json:"load"`
	Broken            []string `json:"broken"`
	Error             string   `json:"error,omitempty"`
}

// name is that of the run, in messages and of the folder with its logs.
func (r *result) name() string { return fmt.Sprintf("%s-%d-%d", r.Mode, r.Colluders, r.Round) }

// compare sets the ratios to what honest runs came to.
func (r *result) compare(others []result) {
	of := func(value func(result) float64) float64 {
		values := make([]float64, 0, len(others))
		for _, o := range others {
			values = append(values, value(o))
		}
		return median(values)
	}
	r.TimeRatio = ratio(r.Seconds, of(func(o result) float64 { return o.Seconds }))
	r.EgressRatio = ratio(r.EgressImages, of(func(o result) float64 { return o.EgressImages }))
}

// judge notes what the run broke, in which every chain may cost so many audits. It reports
// whether that was its time and nothing else.
func (r *result) judge(bound liar.Bound, audits int) (late bool) {
	note := func(format string, args ...any) { r.Broken = append(r.Broken, fmt.Sprintf(format, args...)) }
	if r.PullsOK < r.Pulls {
		note("%d of %d pulls failed", r.Pulls-r.PullsOK, r.Pulls)
	}
	if r.WrongBytesServed > 0 {
		note("honest nodes served %d wrong bytes", r.WrongBytesServed)
	}
	if r.HonestQuarantined > 0 {
		note("%d honest members are quarantined", r.HonestQuarantined)
	}
	if r.Unexplained > 0 {
		note("%d quarantines at honest nodes, over or not, are not of a liar", r.Unexplained)
	}
	if r.EgressRatio > bound.Egress {
		note("the registry sent %.2f times what it sends otherwise, at most %g", r.EgressRatio, bound.Egress)
	}
	if bound.OneAudit && r.Audits > audits {
		note("%d chunks were audited, at most %d", r.Audits, audits)
	}
	if bound.Audited && r.Audits == 0 {
		note("no chunk was audited: either no audit is counted or none is made")
	}
	if bound.Proven && r.Unnamed > 0 {
		note("%d of %d liars told an honest node a lie and are not quarantined", r.Unnamed, r.Colluders)
	}
	if r.Colluders > 0 && r.LiesTold == 0 {
		note("no honest node was told a lie: nothing was tested")
	}
	if r.Recorded == 0 {
		note("nothing was recorded: nothing was tested")
	}
	late = len(r.Broken) == 0 && r.TimeRatio > bound.Time
	if r.TimeRatio > bound.Time {
		note("the slowest pull took %.2f times what it takes otherwise, at most %g", r.TimeRatio, bound.Time)
	}
	return late
}

// ratio is a / b, and 0 where b is nothing.
func ratio(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// median is the middle value, or the higher of the two in the middle; 0 of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(values))[len(values)/2]
}

// loadAverage is the machine's over the last minute, or 0 where it does not say.
func loadAverage() float64 {
	text, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(text), " ")
	load, _ := strconv.ParseFloat(first, 64)
	return load
}
