package main

import (
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/shoal-project/shoal/test/e2e"
)

// A machine is what the figures depend on and no option says.
type machine struct {
	CPUs            int  `json:"cpus"`
	SHAInstructions bool `json:"sha_instructions"`
}

func thisMachine() machine {
	info, _ := os.ReadFile("/proc/cpuinfo")
	return machine{CPUs: runtime.NumCPU(), SHAInstructions: hasSHA(string(info))}
}

// hasSHA finds SHA instructions in /proc/cpuinfo: "sha_ni" on x86, "sha2" on ARM.
func hasSHA(cpuinfo string) bool {
	for line := range strings.Lines(cpuinfo) {
		name, flags, _ := strings.Cut(line, ":")
		if name = strings.TrimSpace(name); name == "flags" || name == "Features" {
			words := strings.Fields(flags)
			return slices.Contains(words, "sha_ni") || slices.Contains(words, "sha2")
		}
	}
	return false
}

// loadAverage is the machine's over the last minute, or 0 where it does not say.
func loadAverage() float64 {
	text, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(text), " ")
	load, _ := strconv.ParseFloat(first, 64)
	return load
}

// A runRecord is the first JSON line, as main.go documents it.
type runRecord struct {
	Record       string  `json:"record"`
	Nodes        int     `json:"nodes"`
	Rate         bitrate `json:"rate"`
	RegistryRate bitrate `json:"registry_rate"`
	Layers       int     `json:"layers"`
	LayerBytes   int64   `json:"layer_bytes"`
	Repeat       int     `json:"repeat"`
	GODEBUG      string  `json:"godebug"`
	machine
}

func (o options) record(m machine) runRecord {
	return runRecord{
		Record: "run", Nodes: o.nodes, Rate: o.rate, RegistryRate: o.registryRate, Layers: o.layers,
		LayerBytes: int64(o.size) * e2e.MiB, Repeat: o.repeat, GODEBUG: o.godebug, machine: m,
	}
}
