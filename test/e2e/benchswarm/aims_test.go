package main

import (
	"strings"
	"testing"

	"github.com/shoal-project/shoal/test/e2e"
)

func TestAims(t *testing.T) {
	all := []summary{
		{scenario: "flash", build: checkoutBuild, rounds: 1, overLink: 1.36, link: 5, arrived: 6, egress: 1.05, peak: 40 * e2e.MiB, cpuPerGiB: 9},
		{scenario: "seeded", build: checkoutBuild, rounds: 1, overLink: 1.2, link: 5, arrived: 5.5, egress: 0.0101, peak: 97 * e2e.MiB, cpuPerGiB: 12.5},
		{scenario: "single", build: checkoutBuild, rounds: 1, max: 5.64, direct: 5, cpuPerGiB: 3},
		{scenario: "tiny", build: checkoutBuild, rounds: 1, median: 0.31, direct: 0.2, cpuPerGiB: 900},
		{scenario: "churn", build: checkoutBuild, failed: 1},
		{scenario: "rolling", build: "old", rounds: 1, peak: 500 * e2e.MiB, cpuPerGiB: 99},
	}
	var out strings.Builder
	writeAims(&out, options{nodes: 6, rate: 100e6, registryRate: 100e6, layers: 2, size: 32, godebug: "cpu.sha=off"}, machine{SHAInstructions: true}, all)
	want := `
✗ flash: slowest pull 1.36 x one link's time (at most 1.35, the last byte came at 1.20)
✓ flash: registry sends 1.0500 x the image (at most 1.0500)
✓ seeded: slowest pull 1.20 x one link's time (at most 1.35, the last byte came at 1.10)
✗ seeded: registry sends 0.0101 x the image (at most 0.0100)
✓ single: cold pull 5.64 s (at most 5.65, 1.1 x the 5.00 s of a direct pull + 150 ms)
✗ tiny: cold pull 310 ms (at most 300, the 200 ms of a direct pull + 100 ms)
✗ daemon's memory: 97 MiB (at most 96, most in seeded)
✗ daemons' CPU: 12.5 s/GiB to clients (at most 12.0, most in seeded)
`
	if out.String() != want {
		t.Errorf("got %s\nwant %s", out.String(), want)
	}
}

// An aim is for one size of everything, and for one kind of CPU.
func TestCaveats(t *testing.T) {
	usual := options{nodes: 6, rate: 100e6, registryRate: 100e6, layers: 2, size: 32}
	if notes := caveats(usual, machine{}); len(notes) != 0 {
		t.Errorf("the run of the aims: %q", notes)
	}
	if notes := caveats(usual, machine{SHAInstructions: true}); len(notes) != 1 || !strings.Contains(notes[0], "SHA") {
		t.Errorf("a CPU with SHA instructions: %q", notes)
	}
	usual.nodes = 7
	if notes := caveats(usual, machine{}); len(notes) != 1 || !strings.Contains(notes[0], "NODES=6") {
		t.Errorf("another number of nodes: %q", notes)
	}
}

func TestAimsOfNothing(t *testing.T) {
	var out strings.Builder
	writeAims(&out, options{}, machine{}, []summary{{scenario: "flash", build: checkoutBuild, failed: 1}})
	if out.Len() > 0 {
		t.Errorf("nothing was measured, and it says %q", out.String())
	}
}
