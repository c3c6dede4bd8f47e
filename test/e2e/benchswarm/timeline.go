package main

import (
	"encoding/csv"
	"fmt"
	"os"
	"strconv"

	"github.com/shoal-project/shoal/test/e2e"
)

// A timeline is a CSV file of samples, a line for each node. A nil timeline is none. It
// belongs to one goroutine at a time.
type timeline struct {
	file  *os.File
	lines *csv.Writer
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

// add writes a sample of the trial with that result.
func (l *timeline) add(r *result, s sample) {
	if l == nil {
		return
	}
	count := func(n int64) string { return strconv.FormatInt(n, 10) }
	for node := e2e.RegistryNode + 1; node < len(s.traffic); node++ {
		_ = l.lines.Write([]string{
			r.Scenario, r.Build, strconv.Itoa(r.Round), strconv.FormatFloat(s.at.Seconds(), 'f', 3, 64), strconv.Itoa(node),
			count(s.traffic[node].Received), count(s.traffic[node].Sent), count(s.traffic[e2e.RegistryNode].Sent),
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
