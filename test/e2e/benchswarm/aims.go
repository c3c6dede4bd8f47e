package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"

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
	var out, memory, cpu []aim
	for _, s := range all {
		if s.rounds == 0 {
			continue
		}
		out = append(out, scenarioAims(s)...)
		if s.peak == 0 {
			continue // no daemon took part
		}
		note := "most in " + s.scenario
		memory = append(memory, aim{"daemon's memory:", float64(s.peak) / e2e.MiB, mostMemory, " MiB", 0, note})
		if s.scenario != "tiny" { // which says nothing about the cost of a GiB
			cpu = append(cpu, aim{"daemons' CPU:", s.cpuPerGiB, mostCPU, " s/GiB to clients", 1, note})
		}
	}
	for _, same := range [][]aim{memory, cpu} {
		if len(same) > 0 {
			out = append(out, slices.MaxFunc(same, func(a, b aim) int { return cmp.Compare(a.measured, b.measured) }))
		}
	}
	return out
}

// scenarioAims are those of a single scenario.
func scenarioAims(s summary) []aim {
	switch s.scenario {
	case "flash":
		return []aim{slowest(s), egress(s, mostEgress)}
	case "seeded":
		return []aim{slowest(s), egress(s, mostSeededEgress)}
	case "single":
		note := fmt.Sprintf("1.1 x the %.2f s of a direct pull + 150 ms", s.direct)
		return []aim{{"single: cold pull", s.max, mostOverDirect*s.direct + mostBeyondDirect, " s", 2, note}}
	case "tiny":
		note := fmt.Sprintf("the %.0f ms of a direct pull + 100 ms", 1000*s.direct)
		return []aim{{"tiny: cold pull", 1000 * s.median, 1000 * (s.direct + mostBeyondTiny), " ms", 0, note}}
	}
	return nil
}

func slowest(s summary) aim {
	note := fmt.Sprintf("the last byte came at %.2f", ratio(s.arrived, s.link))
	return aim{s.scenario + ": slowest pull", s.overLink, mostOverLink, " x one link's time", 2, note}
}

func egress(s summary, atMost float64) aim {
	return aim{s.scenario + ": registry sends", s.egress, atMost, " x the image", 4, ""}
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
