package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shoal-project/shoal/test/e2e"
)

// options are what the command line says.
type options struct {
	checkout     string // folder of the main module
	nodes        int
	rate         bitrate // of each node's link, in each direction
	registryRate bitrate // of what the registry sends
	layers       int
	size         int // MiB of each layer
	scenarios    []scenario
	repeat       int
	shoal        string // another daemon, to be measured beside the checkout's; empty for none
	godebug      string // GODEBUG of the daemons
	timeline     string // file for the counters of the links; empty for none
	profile      string // folder for CPU profiles of the checkout's daemons; empty for none
	logs         string // folder that keeps the logs of every round; empty: of those that failed
}

// parse reads the command line. It returns flag.ErrHelp after it wrote the help.
func parse(args []string, w io.Writer) (options, error) {
	o := options{}
	var rate, registryRate, scenarios string
	flags := flag.NewFlagSet("benchswarm", flag.ContinueOnError)
	flags.SetOutput(w)
	flags.StringVar(&o.checkout, "checkout", ".", "the `folder` with Shoal's source")
	flags.IntVar(&o.nodes, "nodes", 6, "how many nodes")
	flags.StringVar(&rate, "rate", "100mbit", "how `fast` each node's link is in each direction, as tc writes it: kbit, mbit, gbit")
	flags.StringVar(&registryRate, "registry-rate", "", "how `fast` the registry sends (the same as --rate)")
	flags.IntVar(&o.layers, "layers", 2, "layers of the image")
	flags.IntVar(&o.size, "size", 32, "`MiB` of each layer")
	flags.StringVar(&scenarios, "scenarios", "", "the `names` of those to run, with commas (all)")
	flags.IntVar(&o.repeat, "repeat", 1, "`rounds`; the table shows medians")
	flags.StringVar(&o.shoal, "shoal", "", "the `binary` of another build, measured beside this checkout's in turn")
	flags.StringVar(&o.godebug, "godebug", "", "GODEBUG of the daemons: cpu.sha=off,cpu.avx2=off plays a CPU without SHA instructions")
	flags.StringVar(&o.timeline, "timeline", "", "a `file` for the bytes on each link ten times a second, as CSV")
	flags.StringVar(&o.profile, "profile", "", "a `folder` for CPU profiles of the checkout's daemons, for go tool pprof")
	flags.StringVar(&o.logs, "logs", "", "a `folder` for all logs of all rounds (those of failed rounds, in bin/bench-swarm-logs)")
	flags.Usage = func() { teach(flags) }
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q is no flag; see --help", flags.Arg(0))
	}
	if registryRate == "" {
		registryRate = rate
	}
	var errs [3]error
	o.rate, errs[0] = parseBitrate(rate)
	o.registryRate, errs[1] = parseBitrate(registryRate)
	o.scenarios, errs[2] = chooseScenarios(scenarios)
	return o, errors.Join(errors.Join(errs[:]...), o.validate())
}

func (o options) validate() error {
	switch {
	case o.nodes < 2 || o.nodes > 64:
		return errors.New("--nodes takes 2 to 64")
	case o.layers < 1 || o.layers > 100:
		return errors.New("--layers takes 1 to 100")
	case o.size < 1 || o.layers*o.size > 4096:
		return errors.New("--size takes 1 to 4096 MiB, all layers together")
	case o.repeat < 1 || o.repeat > 100:
		return errors.New("--repeat takes 1 to 100")
	}
	if _, err := os.Stat(filepath.Join(o.checkout, "test", "e2e", "go.mod")); err != nil {
		return fmt.Errorf("--checkout is not Shoal's source: %w", err)
	}
	if o.shoal == "" {
		return nil
	}
	if _, err := os.Stat(o.shoal); err != nil {
		return fmt.Errorf("--shoal: %w", err)
	}
	return nil
}

// layerSizes are the bytes of each layer of the image.
func (o options) layerSizes() []int64 {
	return slices.Repeat([]int64{int64(o.size) * e2e.MiB}, o.layers)
}

// timeout is when a round is given up: three times what it takes when all nodes read the
// image through the registry's link one after the other, or one node at a tenth of the rate
// (scenario slow); and a minute for starting everything on a busy machine.
func (o options) timeout() time.Duration {
	bytes := max(int64(o.layers*o.size)*e2e.MiB, manyLayers*manyLayerSize)
	one := min(o.rate, o.registryRate).seconds(bytes)
	return time.Minute + time.Duration(3*one*float64(max(o.nodes, slowdown)))*time.Second
}

// teach is the help.
func teach(flags *flag.FlagSet) {
	w := flags.Output()
	_, _ = fmt.Fprint(w, `Measures pulls on many nodes at once, with real containerds and daemons, over links of a known rate.

Usage: make bench-swarm NODES=6 RATE=100mbit REGISTRY_RATE=100mbit LAYERS=2 SIZE=32 \
         SCENARIOS=flash,seeded REPEAT=3 FLAGS="--timeline t.csv"
       bin/bench-swarm [flags]

It needs root. Standard output gets JSON lines, which "go doc" explains in test/e2e/benchswarm.

Scenarios, each with new nodes, daemons without data, and an image that nobody has seen:
`)
	for _, s := range scenarios() {
		_, _ = fmt.Fprintf(w, "  %-12s %s\n", s.name, s.about)
	}
	_, _ = fmt.Fprint(w, "\nFlags:\n")
	flags.PrintDefaults()
	_, _ = fmt.Fprint(w, `
Where time is lost: --timeline t.csv, then look at who receives less than its link can carry.
Where CPU goes: --profile DIR, then "go tool pprof -top DIR/flash-1-*.pprof".
Is a change better: build the old daemon, and give it to --shoal with REPEAT=3; rounds alternate.
A busy machine makes every figure worse: "load" in the JSON lines says how busy it was.
`)
}

// A bitrate is in bits a second.
type bitrate int64

// parseBitrate reads a rate as tc(8) writes it, with one of the units kbit, mbit and gbit.
func parseBitrate(s string) (bitrate, error) {
	for unit, size := range map[string]bitrate{"kbit": 1e3, "mbit": 1e6, "gbit": 1e9} {
		digits, ok := strings.CutSuffix(s, unit)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 32)
		if rate := bitrate(n) * size; err == nil && rate >= 1e6 && rate <= 1e11 {
			return rate, nil
		}
	}
	return 0, fmt.Errorf("the rate %q is not one like 100mbit, from 1mbit to 100gbit", s)
}

// String is the rate in the words of tc(8).
func (r bitrate) String() string {
	if r%1e6 == 0 {
		return fmt.Sprintf("%dmbit", r/1e6)
	}
	return fmt.Sprintf("%dkbit", r/1e3)
}

// seconds is what a number of bytes takes at the rate.
func (r bitrate) seconds(bytes int64) float64 { return 8 * float64(bytes) / float64(r) }
