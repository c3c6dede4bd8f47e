// Command sim plays named experiments in the simulated network of scheduler/sim and holds
// what comes out against the aims.
//
//	make sim SEEDS=3 CASES=fast-registry,seeded
//	go run ./test/sim --case fast-registry --nodes 20 --seed 7 --trace
//
// A run is one case with a number of nodes and a seed; the same run gives the same trace
// again, to the byte. With --json each run is one line on standard output: case, nodes,
// seed, slowest, median (both as multiples of the bound), egress (as a multiple of the
// images), bound_seconds, events, wall_seconds, trace, and error if an invariant broke.
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
	case err != nil:
		_, _ = fmt.Fprintln(os.Stderr, "sim:", err)
		os.Exit(exitFailed)
	}
}
