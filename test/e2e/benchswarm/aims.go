package main

import (
	"fmt"
	"io"

	"github.com/shoal-project/shoal/test/e2e"
)

// An aim is one figure beside the most that it may be.
type aim struct {
	what     string
	measured float64
	atMost   float64
	unit     string
	digits   int // behind the point
	note     string
}

func (a aim) met() bool { return a.measured <= a.atMost }

// String is the aim's line, with a tick or a cross.
func (a aim) String() string {
	mark := "✗"
	if a.met() {
		mark = "✓"
	}
	line := fmt.Sprintf("%s %s %.*f%s (at most %.*f", mark, a.what, a.digits, a.measured, a.unit, a.digits, a.atMost)
	if a.note != "" {
		line += ", " + a.note
	}
	return line + ")"
}

// What is aimed at. The first three are P2 and P3 of docs/design.md, section 1, with
// containerd's own time.
const (
	mostOverLink     = 1.35 // slowest pull of a crowd / what the image takes at a link's rate
	mostEgress       = 1.05 // images that a cold crowd reads
	mostSeededEgress = 0.01 // images: manifests are still checked
	mostOverDirect   = 1.1
	mostBeyondDirect = 0.150 // s
	mostBeyondTiny   = 0.100 // s
	mostMemory       = 96    // MiB
	mostCPU          = 12    // s for a GiB to clients, on a CPU without SHA instructions
)

// aims compares the summaries of one build with what is aimed at. Scenarios that did not
// run have no aims.
func aims(all []summary) []aim {
	var out []aim
	var memory, cpu aim
	for _, s := range all {
		if s.rounds == 0 {
			continue
		}
		switch s.scenario {
		case "flash":
			out = append(out,
				aim{what: "flash: slowest pull", measured: s.overLink, atMost: mostOverLink, unit: " x one link's time", digits: 2},
				aim{what: "flash: registry sends", measured: s.egress, atMost: mostEgress, unit: " x the image", digits: 3})
		case "seeded":
			out = append(out,
				aim{what: "seeded: slowest pull", measured: s.overLink, atMost: mostOverLink, unit: " x one link's time", digits: 2},
				aim{what: "seeded: registry sends", measured: s.egress, atMost: mostSeededEgress, unit: " x the image", digits: 4})
		case "single":
			out = append(out, aim{
				what: "single: cold pull", measured: s.max, atMost: mostOverDirect*s.direct + mostBeyondDirect, unit: " s", digits: 2,
				note: fmt.Sprintf("1.1 x the %.2f s of a direct pull + 150 ms", s.direct),
			})
		case "tiny":
			out = append(out, aim{
				what: "tiny: cold pull", measured: 1000 * s.median, atMost: 1000 * (s.direct + mostBeyondTiny), unit: " ms",
				note: fmt.Sprintf("the %.0f ms of a direct pull + 100 ms", 1000*s.direct),
			})
		}
		if peak := float64(s.peak) / e2e.MiB; peak > memory.measured {
			memory = aim{what: "daemon's memory:", measured: peak, atMost: mostMemory, unit: " MiB", note: "most in " + s.scenario}
		}
		// A tiny image says nothing about the cost of a GiB.
		if s.scenario != "tiny" && s.cpuPerGiB > cpu.measured {
			cpu = aim{what: "daemons' CPU:", measured: s.cpuPerGiB, atMost: mostCPU, unit: " s/GiB to clients", digits: 1, note: "most in " + s.scenario}
		}
	}
	for _, a := range []aim{memory, cpu} {
		if a.what != "" {
			out = append(out, a)
		}
	}
	return out
}

// writeAims prints the aims of the checkout's build, and what they are to be read with.
func writeAims(w io.Writer, o options, machine machine, all []summary) {
	var own []summary
	for _, s := range all {
		if s.build == checkoutBuild {
			own = append(own, s)
		}
	}
	found := aims(own)
	if len(found) == 0 {
		return
	}
	_, _ = fmt.Fprintln(w)
	for _, a := range found {
		_, _ = fmt.Fprintln(w, a)
	}
	for _, note := range caveats(o, machine) {
		_, _ = fmt.Fprintln(w, "  "+note)
	}
}

// caveats are the ways in which a run is not the one that the aims are set for.
func caveats(o options, m machine) []string {
	var notes []string
	if o.nodes != 6 || o.rate != 100e6 || o.registryRate != 100e6 || o.layers != 2 || o.size != 32 {
		notes = append(notes, "The aims are set for NODES=6 RATE=100mbit REGISTRY_RATE=100mbit LAYERS=2 SIZE=32.")
	}
	if m.SHAInstructions && o.godebug == "" {
		notes = append(notes, "The aim for CPU is set for a CPU without SHA instructions; this one has them. --godebug cpu.sha=off plays one.")
	}
	return notes
}
