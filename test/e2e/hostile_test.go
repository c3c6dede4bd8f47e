package e2e

import (
	"slices"
	"testing"
)

// Whoever is named in one place is found there, and nobody else.
func TestSentencesAreRead(t *testing.T) {
	const log = `time=2026-01-02T03:04:05.678Z level=WARN msg="peer quarantined" peer=12D3KooWa blob=sha256:00 why="sent a chunk" for=1m0s
time=2026-01-02T03:04:06.678Z level=DEBUG msg="session refused" peer=12D3KooWc error="peer quarantined"
time=2026-01-02T03:06:05.678Z level=WARN msg="peer quarantined" peer=12D3KooWa blob=sha256:00 why="sent a chunk" for=2m0s
`
	if got := sentencedIn(log); !slices.Equal(got, []string{"12D3KooWa", "12D3KooWa"}) {
		t.Errorf("the log names %q", got)
	}
	const metrics = `# TYPE shoal_quarantined_peer gauge
shoal_quarantined_peer{peer="12D3KooWb"} 1
shoal_quarantined_peer{peer="12D3KooWa"} 1
shoal_quarantined_peers 2
shoal_quarantines_total{reason="bad_chunk"} 2
shoal_quarantines_total{reason="violation"} 1
`
	if refused, times := quarantinesIn(metrics); !slices.Equal(refused, []string{"12D3KooWa", "12D3KooWb"}) || times != 3 {
		t.Errorf("the metrics name %q, and count %d", refused, times)
	}
}
