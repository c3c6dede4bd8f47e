package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"
)

// A report is everything measured of one cluster. Times are milliseconds.
type report struct {
	Hosts        int     `json:"hosts"`
	Processes    int     `json:"processes"`
	StartSeconds float64 `json:"start_seconds"`
	Idle         idle    `json:"idle"`
	Before       before  `json:"announced_before"`
	Announce     cost    `json:"announce"`
	FindKnown    cost    `json:"find_known"`
	FindNothing  cost    `json:"find_nothing"`
	Crowds       []crowd `json:"crowds"`
}

// idle is what a host has that has nothing to do.
type idle struct {
	RSSMiB     float64 `json:"rss_mib"`
	HeapMiB    float64 `json:"heap_mib"`
	Goroutines float64 `json:"goroutines"`
	Members    float64 `json:"members"`
	Neighbours float64 `json:"neighbours"`
}

// before is the case that one node announced before another looks.
type before struct {
	VisibleMS spread `json:"visible_ms"` // from the announcement until somebody finds it
	FirstMS   spread `json:"first_ms"`
	WholeMS   spread `json:"whole_ms"` // until the look is over
	Missed    int    `json:"missed"`
}

type spread struct {
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// cost is that of one announcement, look or pull, at all hosts together.
type cost struct {
	CPUMS    float64 `json:"cpu_ms"`
	Messages float64 `json:"messages"`
}

func (c cost) String() string { return fmt.Sprintf("%.1f, %.1f", c.CPUMS, c.Messages) }

// crowd is what became of hosts that pulled the same image.
type crowd struct {
	Size        int     `json:"size"`
	SpacingMS   float64 `json:"spacing_ms"`
	FirstMS     spread  `json:"first_ms"`   // until a host knows its first other participant
	ContactMS   spread  `json:"contact_ms"` // or is known to one
	EighthMS    spread  `json:"eighth_ms"`
	ThirtiethMS spread  `json:"thirty_second_ms"`
	Pulls       int     `json:"pulls"`
	Alone       int     `json:"alone"` // pulls that were never in contact
	Eight       int     `json:"eight"` // that came to know 8
	ThirtyTwo   int     `json:"thirty_two"`
	Pull        cost    `json:"pull"`
}

// A tally gathers what the members of a crowd saw, over some rounds. Members are counted in
// the order in which they come.
type tally struct {
	size    int
	spacing time.Duration
	cost    cost // of a pull, summed over the rounds
	rounds  int

	seen                          []map[int]int64 // of this round: member -> whom it knows since when
	first, contact, eight, thirty []time.Duration
	alone                         int
}

func newTally(size int, spacing time.Duration) *tally {
	t := &tally{size: size, spacing: spacing}
	t.clear()
	return t
}

func (t *tally) clear() {
	t.seen = make([]map[int]int64, t.size)
	for i := range t.seen {
		t.seen[i] = map[int]int64{}
	}
}

// sight takes note that a member knows another since a moment.
func (t *tally) sight(member, other int, at int64) { t.seen[member][other] = at }

// add takes what a pull cost in one round.
func (t *tally) add(c cost) {
	t.cost.CPUMS += c.CPUMS
	t.cost.Messages += c.Messages
}

// endRound adds up a round. A member's time runs from when it and enough others were there.
func (t *tally) endRound(arrived []int64) {
	t.rounds++
	known := make([]int64, t.size)
	for i := range known {
		known[i] = math.MaxInt64
	}
	for _, others := range t.seen {
		for other, at := range others {
			known[other] = min(known[other], at)
		}
	}
	for i, others := range t.seen {
		moments := make([]int64, 0, len(others))
		for _, at := range others {
			moments = append(moments, at)
		}
		slices.Sort(moments)
		since := func(moment int64, n int) time.Duration {
			return time.Duration(moment - max(arrived[i], arrived[min(n, t.size-1)]))
		}
		nth := func(to *[]time.Duration, n int) {
			if len(moments) >= n {
				*to = append(*to, since(moments[n-1], n))
			}
		}
		nth(&t.first, 1)
		nth(&t.eight, 8)
		nth(&t.thirty, 32)
		contact := known[i]
		if len(moments) > 0 {
			contact = min(contact, moments[0])
		}
		if contact == math.MaxInt64 {
			t.alone++
			continue
		}
		t.contact = append(t.contact, since(contact, 1))
	}
	t.clear()
}

func (t *tally) crowd() crowd {
	pulls := t.size * t.rounds
	return crowd{
		Size: t.size, SpacingMS: milliseconds(t.spacing), Pulls: pulls, Alone: t.alone,
		FirstMS: spreadOf(t.first), ContactMS: spreadOf(t.contact), EighthMS: spreadOf(t.eight), ThirtiethMS: spreadOf(t.thirty),
		Eight: len(t.eight), ThirtyTwo: len(t.thirty),
		Pull: cost{t.cost.CPUMS / float64(t.rounds), t.cost.Messages / float64(t.rounds)},
	}
}

// printTable prints the reports side by side.
func printTable(w io.Writer, reports []report) error {
	table := tabwriter.NewWriter(w, 0, 0, 1, ' ', tabwriter.Debug)
	row := func(name string, cell func(report) string) {
		_, _ = fmt.Fprint(table, name)
		for _, r := range reports {
			_, _ = fmt.Fprint(table, "\t ", cell(r))
		}
		_, _ = fmt.Fprintln(table)
	}
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }
	times := func(s spread) string { return fmt.Sprintf("%.1f / %.1f", s.P50, s.P99) }
	row("hosts (processes)", func(r report) string { return fmt.Sprintf("%d (%d)", r.Hosts, r.Processes) })
	row("idle: RSS, heap a host, MiB", func(r report) string { return number(r.Idle.RSSMiB) + ", " + number(r.Idle.HeapMiB) })
	row("idle: goroutines, members, neighbours a host", func(r report) string {
		return fmt.Sprintf("%.0f, %.0f, %.0f", r.Idle.Goroutines, r.Idle.Members, r.Idle.Neighbours)
	})
	row("an announcement: CPU ms, messages", func(r report) string { return r.Announce.String() })
	row("a look that finds: CPU ms, messages", func(r report) string { return r.FindKnown.String() })
	row("a look in vain: CPU ms, messages", func(r report) string { return r.FindNothing.String() })
	row("one announced: until it can be found, p50 / p99 ms", func(r report) string { return times(r.Before.VisibleMS) })
	row("one announced: look to first, p50 / p99 ms", func(r report) string { return times(r.Before.FirstMS) })
	row("one announced: look to its end, p50 / p99 ms", func(r report) string { return times(r.Before.WholeMS) })
	for i := range reports[0].Crowds {
		of := func(r report) crowd { return r.Crowds[min(i, len(r.Crowds)-1)] }
		row("", func(r report) string {
			c := of(r)
			if c.SpacingMS > 0 {
				return fmt.Sprintf("%d, each %.0f ms", c.Size, c.SpacingMS)
			}
			return fmt.Sprintf("%d at once", c.Size)
		})
		row("crowd: to the first, p50 / p99 ms", func(r report) string { return times(of(r).FirstMS) })
		row("crowd: to first contact, p50 / p99 ms", func(r report) string { return times(of(r).ContactMS) })
		row("crowd: to the 8th, p50 / p99 ms", func(r report) string { return times(of(r).EighthMS) })
		row("crowd: to the 32nd, p50 / p99 ms", func(r report) string { return times(of(r).ThirtiethMS) })
		row("crowd: alone, know 8, know 32, of", func(r report) string {
			c := of(r)
			return fmt.Sprintf("%d, %d, %d of %d", c.Alone, c.Eight, c.ThirtyTwo, c.Pulls)
		})
		row("crowd: CPU ms, messages a pull", func(r report) string { return of(r).Pull.String() })
	}
	return table.Flush()
}
