// Command bench measures a real daemon beside things people know, on this machine.
//
//	make bench
//
// Every comparison alternates between the two sides in one run and gives medians, so
// that a busy machine slows both. It prints the tables of docs/benchmarks.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/test/fleet"
)

type options struct {
	shoal string
	nginx string
	size  blob.ByteCount // of the large layer
	runs  int            // of short comparisons
	pulls int            // of the large layer
}

func main() {
	opts := options{}
	var mib int
	flag.StringVar(&opts.shoal, "shoal", "bin/shoal", "the daemon's `binary`")
	flag.StringVar(&opts.nginx, "nginx", "nginx", "nginx's `binary`")
	flag.IntVar(&mib, "size", 1024, "`MiB` of the large layer")
	flag.IntVar(&opts.runs, "runs", 7, "how often each comparison is repeated")
	flag.IntVar(&opts.pulls, "pulls", 3, "how often the large layer is pulled in each way")
	flag.Parse()
	opts.size = blob.ByteCount(mib) * blob.MiB
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, opts)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, opts options) (err error) {
	dir, err := os.MkdirTemp("", "shoal-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	reg, err := fleet.StartRegistry(ctx, filepath.Join(dir, "registry"))
	if err != nil {
		return err
	}
	defer reg.Stop()
	for _, part := range []func(context.Context, options, string, *fleet.Registry) error{
		measurePulls, measureServing,
	} {
		if err := part(ctx, opts, dir, reg); err != nil {
			return err
		}
	}
	return nil
}

// say prints one line of a table.
func say(format string, args ...any) { _, _ = fmt.Fprintf(os.Stdout, format+"\n", args...) }
