// Command dht measures first contact: how soon nodes that want the same image learn of
// each other through the DHT, and what that costs them.
//
//	make bench-dht HOSTS=50,100,200,500
//
// Each host is made as the daemon makes it and speaks TCP over loopback, at an address of
// its own. All are in one process, or in several where that may not open enough files.
// Nothing of a daemon but p2p and p2p/discovery takes part: no sessions open and no peers are
// exchanged. It prints one line of JSON for each number of hosts, then a table, and last a verdict:
// first contact is to take at most 100 ms, p99, among 500 hosts. It exits with 3 if that was missed.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type options struct {
	hosts   []int
	port    int
	layers  int           // of the image that a crowd pulls
	samples int           // announcements and look-ups that are measured
	rounds  int           // of each crowd
	spacing time.Duration // between two hosts of a crowd that does not come at once
	seed    uint64
}

func main() {
	opts := options{}
	hosts := flag.String("hosts", "50,100,200,500", "how many hosts, a `list`")
	flag.IntVar(&opts.port, "port", 16051, "the `port` of every host")
	flag.IntVar(&opts.layers, "layers", 4, "layers of the image that a crowd pulls")
	flag.IntVar(&opts.samples, "samples", 200, "how often one host looks for what another announced")
	flag.IntVar(&opts.rounds, "rounds", 3, "how often all hosts pull one image at once; small crowds ten times as often")
	flag.DurationVar(&opts.spacing, "spacing", 20*time.Millisecond, "`time` between two hosts of a crowd that does not come at once")
	flag.Uint64Var(&opts.seed, "seed", 1, "which hosts do what")
	isWorker := flag.Bool("worker", false, "run hosts for another process, at its command on standard input")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var err error
	if *isWorker {
		err = work(ctx)
	} else if opts.hosts, err = numbers(*hosts); err == nil {
		err = run(ctx, opts)
	}
	stop()
	switch {
	case errors.Is(err, errMissed):
		os.Exit(exitMissed) // the verdict said so
	case err != nil:
		tell("dht: %v", err)
		os.Exit(1)
	}
}

// exitMissed is the exit code when the aim was missed.
const exitMissed = 3

func numbers(list string) ([]int, error) {
	var out []int
	for s := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 3 || n > maxHosts {
			return nil, fmt.Errorf("%q is not a number of hosts from 3 to %d", s, maxHosts)
		}
		out = append(out, n)
	}
	return out, nil
}

func run(ctx context.Context, opts options) error {
	var reports []report
	for _, n := range opts.hosts {
		r, err := measure(ctx, opts, n)
		if err != nil {
			return err
		}
		line, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("report: %w", err)
		}
		say("%s", line)
		reports = append(reports, r)
	}
	if err := printTable(os.Stdout, reports); err != nil {
		return err
	}
	text, err := verdict(reports)
	say("%s", text)
	return err
}

// measure starts n hosts, takes every figure of them and stops them.
func measure(ctx context.Context, opts options, n int) (r report, err error) {
	started := time.Now()
	c, err := startCluster(ctx, n, opts.port)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	if err := c.settle(ctx); err != nil {
		return r, err
	}
	r.Hosts, r.Processes, r.StartSeconds = n, len(c.workers), time.Since(started).Seconds()
	if r.Idle, err = c.idle(); err != nil {
		return r, err
	}
	l := newLab(c, opts)
	for _, part := range []struct {
		name string
		take func(context.Context, *report) error
	}{
		{"announced before", l.announcedBefore},
		{"costs", l.costs},
		{"small crowds", l.smallCrowds},
		{"everybody, one after another", l.spreadCrowd},
		{"everybody at once", l.hotKey},
	} {
		tell("%d hosts, %.0f s: %s", n, time.Since(started).Seconds(), part.name)
		if err := part.take(ctx, &r); err != nil {
			return r, fmt.Errorf("%s: %w", part.name, err)
		}
	}
	return r, nil
}

func say(format string, args ...any)  { _, _ = fmt.Fprintf(os.Stdout, format+"\n", args...) }
func tell(format string, args ...any) { _, _ = fmt.Fprintf(os.Stderr, format+"\n", args...) }
