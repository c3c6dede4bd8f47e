package main

import (
	"encoding/csv"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/shoal-project/shoal/test/e2e"
)

// samplingPeriod is the time between two lines of one node in a timeline.
const samplingPeriod = 100 * time.Millisecond

// A timeline is a CSV file of what went over the links since a timed part began. A nil
// timeline is none. It belongs to one goroutine at a time.
type timeline struct {
	file   *os.File
	lines  *csv.Writer
	result *result // whose timed part it is
	before []e2e.Traffic
}

func newTimeline(name string) (*timeline, error) {
	if name == "" {
		return nil, nil //nolint:nilnil // no file was asked for: see timeline
	}
	f, err := os.Create(name) //nolint:gosec // the user names it
	if err != nil {
		return nil, fmt.Errorf("--timeline: %w", err)
	}
	l := &timeline{file: f, lines: csv.NewWriter(f)}
	_ = l.lines.Write([]string{"scenario", "build", "round", "t", "node", "rx_bytes", "tx_bytes", "registry_tx_bytes"})
	return l, nil
}

// begin starts a timed part.
func (l *timeline) begin(r *result, before []e2e.Traffic) {
	if l != nil {
		l.result, l.before = r, before
	}
}

// add writes a line for every node, t after the timed part began.
func (l *timeline) add(t time.Duration, now []e2e.Traffic) {
	if l == nil {
		return
	}
	count := func(n int64) string { return strconv.FormatInt(n, 10) }
	registry := now[e2e.RegistryNode].Sent - l.before[e2e.RegistryNode].Sent
	for node := e2e.RegistryNode + 1; node < len(now); node++ {
		_ = l.lines.Write([]string{
			l.result.Scenario, l.result.Build, strconv.Itoa(l.result.Round),
			strconv.FormatFloat(t.Seconds(), 'f', 3, 64), strconv.Itoa(node),
			count(now[node].Received - l.before[node].Received), count(now[node].Sent - l.before[node].Sent), count(registry),
		})
	}
}

// close reports the first error of all writing.
func (l *timeline) close() error {
	if l == nil {
		return nil
	}
	l.lines.Flush()
	if err := l.lines.Error(); err != nil {
		return fmt.Errorf("--timeline: %w", err)
	}
	return l.file.Close()
}
