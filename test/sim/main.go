// Command sim plays named experiments in the simulated network of scheduler/sim and holds
// what comes out against the aims.
//
//	make sim SEEDS=3 CASES=fast-registry,seeded
//	go run ./test/sim --case fast-registry --nodes 20 --seed 7 --trace
//
// A run is one case with a number of nodes and a seed; the same run gives the same trace
// again, to the byte. With --json each run is one line on standard output: case, nodes,
// seed, slowest, median (both as multiples of the bound), egress (as a multiple of the
// images), bound_seconds, events, wall_seconds, trace, and error if an invariant broke. A line
// with seeds in place of seed follows the runs of a case: median_of_seeds, worst_of_seeds, and
// missed, the aims that the worst of them misses.
//
// It exits with 0 if every aim was met, 1 if a Machine did what none may, 2 if it does not
// understand the command line, 3 if an aim was missed, and 130 if it was interrupted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// Exit codes.
const (
	exitFailed      = 1 // a Machine broke an invariant
	exitUsage       = 2
	exitMissed      = 3 // an aim was missed
	exitInterrupted = 130
)

func main() {
	opts, err := parse(os.Args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		_, _ = fmt.Fprintln(os.Stderr, "sim:", err)
		os.Exit(exitUsage)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, opts)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case interrupted:
		os.Exit(exitInterrupted)
	case errors.Is(err, errMissed):
		os.Exit(exitMissed) // the last line said so
	case err != nil:
		_, _ = fmt.Fprintln(os.Stderr, "sim:", err)
		os.Exit(exitFailed)
	}
}
