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
	"github.com/shoal-project/shoal/test/e2e/liar"
)

// options are what the command line says.
type options struct {
	checkout  string // folder of the main module
	modes     []liar.Mode
	colluders []int
	repeat    int
	retries   int // how often a run that was only late is made again
	nodes     int
	rate      string // of each link, in the words of tc
	layers    int
	size      int           // MiB of each layer
	within    time.Duration // one run
	logs      string        // folder that keeps the logs of every run; empty: of those that failed
}

// parse reads the command line. It returns flag.ErrHelp after it wrote the help.
func parse(args []string, w io.Writer) (options, error) {
	o := options{}
	var modes, colluders string
	flags := flag.NewFlagSet("hostile", flag.ContinueOnError)
	flags.SetOutput(w)
	flags.StringVar(&o.checkout, "checkout", ".", "the `folder` with Shoal's source")
	flags.StringVar(&modes, "modes", "", "the `names` of those to run, with commas (all)")
	flags.StringVar(&colluders, "colluders", "1,2", "how many nodes lie together: `numbers`, with commas")
	flags.IntVar(&o.repeat, "repeat", 1, "`rounds` of each")
	flags.IntVar(&o.retries, "retries", 0, "how often a run that was only late is made `again` before that counts")
	flags.IntVar(&o.nodes, "nodes", 6, "how many nodes, liars included")
	flags.StringVar(&o.rate, "rate", "100mbit", "how `fast` each node's link and the registry's is, as tc writes it")
	flags.IntVar(&o.layers, "layers", 2, "layers of the image")
	flags.IntVar(&o.size, "size", 16, "`MiB` of each layer")
	flags.DurationVar(&o.within, "within", 3*time.Minute, "how long one run may take before it is given up")
	flags.StringVar(&o.logs, "logs", "", "a `folder` for all logs of all runs (those of failed and broken runs, in bin/hostile-logs)")
	flags.Usage = func() { teach(flags) }
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q is no flag; see --help", flags.Arg(0))
	}
	var errs [2]error
	o.modes, errs[0] = chooseModes(modes)
	o.colluders, errs[1] = readNumbers(colluders)
	return o, errors.Join(errors.Join(errs[:]...), o.validate())
}

func (o options) validate() error {
	switch {
	case o.nodes < 2 || o.nodes > 32:
		return errors.New("--nodes takes 2 to 32")
	case len(o.colluders) == 0 || slices.Min(o.colluders) < 1 || slices.Max(o.colluders) >= o.nodes:
		return errors.New("--colluders takes numbers of at least 1, and fewer than there are nodes")
	case o.repeat < 1 || o.repeat > 100:
		return errors.New("--repeat takes 1 to 100")
	case o.retries < 0 || o.retries > 10:
		return errors.New("--retries takes 0 to 10")
	case o.layers < 1 || o.size < 1 || o.layers*o.size > 1024:
		return errors.New("--layers and --size take at least 1, and 1024 MiB together")
	}
	if _, err := os.Stat(filepath.Join(o.checkout, "test", "e2e", "go.mod")); err != nil {
		return fmt.Errorf("--checkout is not Shoal's source: %w", err)
	}
	return nil
}

// layerSizes are the bytes of each layer of the image.
func (o options) layerSizes() []int64 {
	return slices.Repeat([]int64{int64(o.size) * e2e.MiB}, o.layers)
}

// chooseModes finds the modes of a list of names; an empty list is all of them.
func chooseModes(names string) ([]liar.Mode, error) {
	if names == "" {
		return liar.Modes(), nil
	}
	var chosen []liar.Mode
	for name := range strings.SplitSeq(names, ",") {
		mode, err := liar.Find(name)
		if err != nil {
			return nil, err
		}
		chosen = append(chosen, mode)
	}
	return chosen, nil
}

func readNumbers(list string) ([]int, error) {
	var numbers []int
	for text := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("--colluders: %q is no number", text)
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// teach is the help.
func teach(flags *flag.FlagSet) {
	w := flags.Output()
	_, _ = fmt.Fprint(w, `Lets members lie while honest nodes pull, with real containerds and daemons, and checks the bounds.

Usage: make hostile MODES=wrong-bytes,drip COLLUDERS=1,2 REPEAT=1 FLAGS="--logs DIR"
       bin/hostile [flags]

It needs root. Standard output gets JSON lines, which "go doc" explains in test/e2e/hostile.

Modes. A liar claims to have everything, unless its mode says something else. Bounds: times the slowest
pull, and times what the registry sends, where nobody lies; and whether a liar must be quarantined, if it lied:
`)
	for _, m := range liar.Modes() {
		must := ""
		if m.Bound.Proven {
			must = ", quarantined"
		}
		_, _ = fmt.Fprintf(w, "  %-20s %s (%g x, %g x%s)\n", m.Name, m.About, m.Bound.Time, m.Bound.Egress, must)
	}
	_, _ = fmt.Fprint(w, "\nFlags:\n")
	flags.PrintDefaults()
	_, _ = fmt.Fprint(w, `
What a liar did: --modes NAME --colluders 1 --logs DIR, then DIR/NAME-1-1/n1-shoal.log and the others' logs.
A busy machine makes everything slower: "load" in the JSON lines says how busy it was. With --retries a run that
was only late is made again, so often at most, and the last one counts: "retried" and RETRIED say how often.
`)
}
