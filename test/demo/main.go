// Command demo shows on one machine what Shoal does in a cluster: a registry, an image,
// and several real daemons that pull it at the same moment.
//
// It starts processes and writes files only below a temporary folder, and removes both,
// also when it is interrupted.
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
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/test/fleet"
)

// options are what the command line says.
type options struct {
	shoal   string        // path of the daemon's binary
	nodes   int           // daemons
	layers  int           // layers of the image
	size    int           // MiB of each layer
	timeout time.Duration // for everything
	keep    bool          // leave the folder with the logs
}

func main() {
	opts := options{}
	flag.StringVar(&opts.shoal, "shoal", "bin/shoal", "the daemon's `binary`")
	flag.IntVar(&opts.nodes, "nodes", 5, "how many daemons pull")
	flag.IntVar(&opts.layers, "layers", 4, "layers of the image")
	flag.IntVar(&opts.size, "size", 16, "`MiB` of each layer")
	flag.DurationVar(&opts.timeout, "timeout", 10*time.Minute, "give up after this `long`")
	flag.BoolVar(&opts.keep, "keep", false, "keep the folder with the daemons' logs")
	flag.Usage = func() {
		_, _ = fmt.Fprint(flag.CommandLine.Output(),
			"Pulls one image through several Shoal daemons at once, on this machine.\n\n"+
				"Usage: make demo NODES=5 LAYERS=4 SIZE=16\n\n")
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := opts.validate(); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, opts)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case interrupted:
		_, _ = fmt.Fprintln(os.Stderr, "\ndemo: interrupted; everything it started is gone")
		os.Exit(130)
	case err != nil:
		_, _ = fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

func (o options) validate() error {
	switch {
	case o.nodes < 1 || o.nodes > 64:
		return errors.New("NODES takes 1 to 64")
	case o.layers < 1 || o.layers > 100:
		return errors.New("LAYERS takes 1 to 100")
	case o.size < 1 || o.size > 4096:
		return errors.New("SIZE takes 1 to 4096 (MiB)")
	}
	if _, err := os.Stat(o.shoal); err != nil {
		return fmt.Errorf("no daemon to start: %w (run `make build` first)", err)
	}
	return nil
}

// run is the whole demonstration. What it started is gone when it returns.
func run(ctx context.Context, opts options) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, opts.timeout, fmt.Errorf("not done after %s", opts.timeout))
	defer cancel()
	dir, err := os.MkdirTemp("", "shoal-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the daemons: %w", err)
	}
	defer func() {
		if opts.keep {
			say("Logs and data are in " + dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	say(fmt.Sprintf("Generating an image of %d layers, %d MiB each ...", opts.layers, opts.size))
	reg, err := fleet.StartRegistry(ctx, filepath.Join(dir, "registry"))
	if err != nil {
		return err
	}
	defer reg.Stop()
	img, err := reg.Push(ctx, opts.layers, blob.ByteCount(opts.size)*blob.MiB)
	if err != nil {
		return err
	}
	reg.Reset()
	say(fmt.Sprintf("Starting %d daemons ...", opts.nodes))
	nodes, err := fleet.Start(ctx, fleet.Config{Binary: opts.shoal, Dir: dir, Nodes: opts.nodes, Upstream: reg.URL})
	if err != nil {
		return err
	}
	defer nodes.Stop()
	if err := nodes.AwaitMembers(ctx); err != nil {
		return err
	}
	results, err := pullAll(ctx, nodes, img)
	if err != nil {
		return err
	}
	return report(os.Stdout, results, img, reg.Egress())
}

// A result is one node's pull.
type result struct {
	node    int
	seconds float64
	seen    fleet.Seen
}

// pullAll pulls through every node at the same moment.
func pullAll(ctx context.Context, nodes *fleet.Fleet, img fleet.Image) ([]result, error) {
	say(fmt.Sprintf("Pulling through all %d at once ...\n", len(nodes.Nodes)))
	results := make([]result, len(nodes.Nodes))
	bars := newBars(len(nodes.Nodes), img.Size())
	group, groupCtx := errgroup.WithContext(ctx)
	for i, n := range nodes.Nodes {
		group.Go(func() error {
			took, err := n.Pull(groupCtx, img, bars.advance(i))
			results[i] = result{node: n.Number, seconds: took.Seconds()}
			return err
		})
	}
	err := group.Wait()
	bars.done()
	if err != nil {
		return nil, err
	}
	if err := nodes.AwaitProven(ctx, img); err != nil {
		return nil, err
	}
	for i, n := range nodes.Nodes {
		if results[i].seen, err = n.See(ctx); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// say tells the person in front of the terminal what happens.
func say(line string) { _, _ = fmt.Fprintln(os.Stdout, line) }
