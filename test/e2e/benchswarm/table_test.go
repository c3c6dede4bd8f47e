package main

import (
	"strings"
	"testing"

	"github.com/shoal-project/shoal/test/e2e"
)

func TestTable(t *testing.T) {
	direct := summary{
		scenario: "direct", build: checkoutBuild, rounds: 1, nodes: 6,
		min: 30, median: 33.333, max: 34.5, link: 5.369, overLink: 6.426, egressBlobs: 6,
	}
	tiny := summary{
		scenario: "tiny", build: checkoutBuild, rounds: 1, nodes: 1, min: 0.2, median: 0.25, max: 0.3,
		link: 0.025, overLink: 12, egressBlobs: 1, cpu: 0.1, cpuPerGiB: 100, peak: 30 * e2e.MiB,
	}
	slow := summary{
		scenario: "slow", build: checkoutBuild, rounds: 2, failed: 1, nodes: 6, slow: 61.25,
		min: 5.5, median: 6, max: 6.5, link: 5.369, overLink: 1.211, egressBlobs: 1.0004,
		cpu: 4.5, cpuPerGiB: 12, peak: 40 * e2e.MiB,
	}
	churn := summary{scenario: "churn", build: checkoutBuild, failed: 2}
	checkTable(t, []summary{direct, tiny, slow, churn}, `
  SCENARIO   NODES  MIN s  MEDIAN s  MAX s  LINK s  MAX/LINK  EGRESS  CPU s  CPU s/GiB  PEAK MiB
    direct       6  30.00     33.33  34.50    5.37      6.43   6.000      -          -         -
      tiny       1   0.20      0.25   0.30    0.03         -   1.000   0.10      100.0        30
      slow       6   5.50      6.00   6.50    5.37      1.21   1.000   4.50       12.0        40
     churn  failed      -         -      -       -         -       -      -          -         -
`+legend+`slow: the slow node itself took 61.2 s.
slow: 1 round failed.
churn: 2 rounds failed.
`)

	other := direct
	other.build = "/tmp/old"
	checkTable(t, []summary{direct, other}, `
  SCENARIO     BUILD  NODES  MIN s  MEDIAN s  MAX s  LINK s  MAX/LINK  EGRESS  CPU s  CPU s/GiB  PEAK MiB
    direct  checkout      6  30.00     33.33  34.50    5.37      6.43   6.000      -          -         -
    direct  /tmp/old      6  30.00     33.33  34.50    5.37      6.43   6.000      -          -         -
`+legend)
}

func checkTable(t *testing.T, all []summary, want string) {
	t.Helper()
	var out strings.Builder
	writeTable(&out, all)
	if "\n"+out.String() != want {
		t.Errorf("got\n%s\nwant%s", out.String(), want)
	}
}
