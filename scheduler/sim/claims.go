package sim

import (
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// oneRun is how many chunks a liar claims in a row: peers believe no more.
const oneRun blob.ChunkIndex = 8

// falseClaims are as many runs as may be told at a time, spread over the layer; from beat to
// beat they move on.
func (d *disk) falseClaims(beat int) []scheduler.Span {
	runs := max(1, int(d.n/oneRun))
	told := min(runs, scheduler.MaxSpans)
	spans := make([]scheduler.Span, 0, told)
	for k := range told {
		first := oneRun * blob.ChunkIndex((beat+k*runs/told)%runs)
		spans = append(spans, scheduler.Span{First: first, Count: min(oneRun, d.n-first)})
	}
	slices.SortFunc(spans, func(a, b scheduler.Span) int { return int(a.First - b.First) })
	return spans
}

// claim says that these chunks are being read.
func (s *session) claim(spans []scheduler.Span) {
	s.send(scheduler.PeerReads{Blob: s.disk.digest(), Peer: s.node.id, Spans: spans})
}

// claimAhead answers who begins to read a run by claiming what follows its next chunk: it takes
// that for a sign to stop there.
func (s *session) claimAhead(reads []scheduler.Span) {
	if len(reads) == 0 {
		return
	}
	if first := reads[0].First + 1; first < s.disk.n {
		s.claim([]scheduler.Span{{First: first, Count: min(oneRun, s.disk.n-first)}})
	}
}
