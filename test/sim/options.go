package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/shoal-project/shoal/scheduler/sim"
)

// options are what the command line says.
type options struct {
	cases []sim.Case
	nodes []int // empty: as many as each case is about
	seeds []uint64
	jobs  int
	json  bool
	trace bool
	watch time.Duration // 0: do not
	sweep string        // the case to sweep over nodes; empty: none
	svg   string
	set   settings
}

const usage = `Plays experiments in a simulated network of real scheduler Machines.

  go run ./test/sim --list                                  the cases and their aims
  go run ./test/sim --case seeded,fast-registry --seeds 5   the median and the worst of five seeds
  go run ./test/sim --case churn --nodes 20 --seed 7        one run again, as an error names it
  go run ./test/sim --case churn --nodes 3 --seed 7 --trace every action of it
  go run ./test/sim --case seeded --seed 1 --watch 5s       where the time goes
  go run ./test/sim --case seeded --set Uploads=8           what another number would do
  go run ./test/sim --sweep fast-registry --nodes 2,6,20,100,300,1000 --svg docs/sim.svg

"slowest" and "median" are times from a node's own start to its last layer, as multiples of
the bound: the least that the registry's link, a node's link, all links together and one
core's hashing allow. "egress" is what the registry sent, as a multiple of the images.
Aims are held against the worst seed, in crowds of up to as many nodes as --list says. The
last line sums up, and the exit code is 3 if an aim was missed, 1 if a Machine did what none may.

A run of 100 nodes and 1 GiB takes 15 to 100 seconds of one core, one of 20 nodes two, and the
smallest a tenth. So all cases with one seed take about half an hour of one core, and those of a
thousand nodes hours more: name the cases, or take fewer --nodes or a smaller --size.

`

// parse reads the command line. It returns flag.ErrHelp when what was asked for is printed.
func parse(args []string) (options, error) {
	opts := options{}
	var cases, nodes, size string
	var seeds int
	var list bool
	flags := flag.NewFlagSet("sim", flag.ContinueOnError)
	flags.StringVar(&cases, "case", "", "the `names` of the cases, with commas (all)")
	flags.StringVar(&nodes, "nodes", "", "the `numbers` of nodes, with commas (as many as each case is about)")
	flags.StringVar(&size, "size", "", "the `sizes` of the layers of one image, as 20MiB,300KiB (the case's own)")
	flags.IntVar(&seeds, "seeds", 1, "how many seeds each case is played with, from 1 on")
	flags.Func("seed", "play this `seed` alone", func(s string) error {
		seed, err := strconv.ParseUint(s, 10, 64)
		opts.seeds = []uint64{seed}
		return err
	})
	flags.IntVar(&opts.jobs, "jobs", runtime.GOMAXPROCS(0), "runs at a time")
	flags.BoolVar(&opts.json, "json", false, "one JSON line a run instead of tables")
	flags.BoolVar(&opts.trace, "trace", false, "print every action of every run")
	flags.DurationVar(&opts.watch, "watch", 0, "print where the bytes are and how fast they move, so `often`")
	flags.BoolVar(&list, "list", false, "list the cases and end")
	flags.StringVar(&opts.sweep, "sweep", "", "play this `case` with each of --nodes and print a table for docs/benchmarks.md")
	flags.Func("set", "other `values` of scheduler.Config, as Uploads=8,Stagger=20ms", opts.set.add)
	flags.StringVar(&opts.svg, "svg", "", "with --sweep, draw it into this `file`")
	flags.SetOutput(io.Discard) // an error is said once, by main
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(os.Stdout)
		_, _ = fmt.Fprint(os.Stdout, usage)
		flags.PrintDefaults()
	case err == nil && list:
		listCases(os.Stdout)
		err = flag.ErrHelp
	case err == nil:
		err = opts.fill(cases, nodes, size, seeds, flags.Args())
	}
	return opts, err
}

// fill checks what was given as text.
func (o *options) fill(cases, nodes, size string, seeds int, rest []string) error {
	if len(rest) > 0 {
		return fmt.Errorf("%q is no flag (see --help)", rest[0])
	}
	if o.jobs < 1 || seeds < 1 || seeds > 1000 {
		return errors.New("--jobs takes 1 or more, --seeds 1 to 1000")
	}
	if o.sweep != "" {
		cases, nodes = o.sweep, cmp.Or(nodes, "2,6,20,100,300,1000")
	}
	if o.trace || o.watch > 0 {
		o.jobs = 1
	}
	if o.seeds == nil {
		for k := range uint64(seeds) {
			o.seeds = append(o.seeds, k+1)
		}
	}
	return errors.Join(o.fillCases(cases, size), o.fillNodes(nodes))
}

func (o *options) fillCases(names, size string) error {
	if names == "" {
		o.cases = sim.Cases()
	} else {
		for name := range strings.SplitSeq(names, ",") {
			c, ok := sim.FindCase(name)
			if !ok {
				return fmt.Errorf("no case %q (see --list)", name)
			}
			o.cases = append(o.cases, c)
		}
	}
	if size == "" {
		return nil
	}
	sizes, err := parseSizes(size)
	for i, c := range o.cases {
		o.cases[i] = c.Sized(sizes...)
	}
	return err
}

func (o *options) fillNodes(numbers string) error {
	if numbers == "" {
		return nil
	}
	for word := range strings.SplitSeq(numbers, ",") {
		n, err := strconv.Atoi(word)
		if err != nil || n < 1 || n > 10000 {
			return fmt.Errorf("--nodes takes numbers from 1 to 10000, not %q", word)
		}
		o.nodes = append(o.nodes, n)
	}
	return nil
}
