// Command kube proves Shoal's deployment on a real Kubernetes: etcd, API server, controller
// manager, scheduler, CoreDNS, and two nodes with kubelet and containerd, each in namespaces of
// its own on this machine. It installs the chart with the helm command, uses kubectl for
// all else, and needs root.
//
//	make e2e-kube                      # FLAGS="--only install,uninstall --logs dir"
//
// The programs are built once from their Go modules into ~/.cache/shoal-kube, which takes
// about ten minutes on two cores. Standard output gets one JSON document a line for each
// case:
//
//	case     its name
//	ok       whether it did what it should
//	detail   what was seen, or why it failed
//	seconds  how long it took
//
// The same as a table goes to standard error, with the versions. The exit code is 0 when all
// cases are ok, 1 when one is not, 2 when the command line makes no sense.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/shoal-project/shoal/test/e2e"
)

// options are what the command line says.
type options struct {
	checkout string
	cache    string
	logs     string
	only     []string
	cached   bool
}

func main() {
	os.Exit(run(os.Args[1:])) //nolint:forbidigo // a command's exit code
}

func parse(args []string, w io.Writer) (options, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return options{}, err
	}
	o := options{}
	flags := flag.NewFlagSet("kube", flag.ContinueOnError)
	flags.SetOutput(w)
	flags.StringVar(&o.checkout, "checkout", ".", "the `folder` with Shoal's source")
	flags.StringVar(&o.cache, "cache", filepath.Join(home, ".cache", "shoal-kube"), "the `folder` for the programs of Kubernetes")
	flags.StringVar(&o.logs, "logs", "bin/e2e-kube-logs", "the `folder` that keeps all logs of a run in which something failed")
	flags.BoolVar(&o.cached, "if-cached", false, "do nothing, and say so, unless the programs are built already")
	only := flags.String("only", "", "the `names` of those cases to run, with commas; install always runs")
	flags.Usage = func() {
		_, _ = fmt.Fprint(w, "Proves Shoal's deployment on a real Kubernetes of two nodes. Needs root; see go doc ./test/e2e/kube.\n\nCases:\n")
		for _, c := range cases() {
			_, _ = fmt.Fprintf(w, "  %-18s %s\n", c.name, c.about)
		}
		_, _ = fmt.Fprint(w, "\nFlags:\n")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("%q is no flag; see --help", flags.Arg(0))
	}
	if *only == "" {
		return o, nil
	}
	for name := range strings.SplitSeq(*only, ",") {
		if !slices.ContainsFunc(cases(), func(c testCase) bool { return c.name == name }) {
			return o, fmt.Errorf("there is no case %q; see --help", name)
		}
		o.only = append(o.only, name)
	}
	return o, nil
}

// run is the whole command. It runs twice: outside the sandbox, where it builds what is
// needed, and inside.
func run(args []string) int {
	o, err := parse(args, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return e2e.Complain("kube", err, 2)
	}
	if o.cached && !allBuilt(o.cache) {
		_, _ = fmt.Fprintf(os.Stderr, "kube: skipped: %s does not hold all programs (make e2e-kube builds them)\n", o.cache)
		return 0
	}
	if os.Geteuid() != 0 {
		return e2e.Complain("kube", errors.New("needs root: it makes namespaces and mounts"), 1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	group := "" // of the cgroups, outside the sandbox
	prepare := func(sandbox string) error {
		group = filepath.Base(sandbox)
		return build(ctx, o, sandbox)
	}
	code, err := e2e.InSandbox(prepare, func() int { return prove(ctx, o) })
	if group != "" { // whoever was killed inside could not do it
		removeGroups(group)
	}
	if err != nil {
		return e2e.Complain("kube", err, max(code, 1))
	}
	return code
}
