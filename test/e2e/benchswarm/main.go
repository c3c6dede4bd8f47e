// Command benchswarm measures what Shoal does for pulls on many nodes at once: a real
// registry, and for every node a network namespace with a link of a known rate in both
// directions, a real containerd, and a real daemon. It needs root.
//
//	make bench-swarm NODES=6 RATE=100mbit REGISTRY_RATE=100mbit LAYERS=2 SIZE=32 \
//	  SCENARIOS=flash,seeded REPEAT=3 FLAGS="--timeline t.csv"
//
// The table and the aims go to standard error, together with what happens meanwhile. Standard
// output gets one JSON document a line, each with a field "record" that says what it is.
// Fields are added and never change their meaning:
//
//	run       what was asked for, and the machine: nodes, rate, registry_rate (bits a
//	          second), layers, layer_bytes, repeat, godebug, cpus, sha_instructions
//	link      what plain TCP gets through the shaped links, as a check of the shaping:
//	          what ("into one node", "out of one node", "out of the registry"), rate (bits
//	          a second that it is shaped to), measured (bits of payload a second: about
//	          95 % of the rate, since headers count)
//	scenario  one round of one scenario, below
//
// A scenario's fields. What happens before the timed part (a seed's pull) counts nowhere:
//
//	scenario           its name (benchswarm --help)
//	build              "checkout", or the path that --shoal gave
//	round              from 1
//	nodes              whose pulls are in seconds
//	image_bytes        of all layers, compressed
//	link_seconds       image_bytes at the rate of a node's link
//	seconds            of every pull, from just before PullImage to its return
//	min_seconds, median_seconds, max_seconds, max_over_link
//	arrived_seconds    from the beginning until the slowest of the nodes had all but the last
//	                   hundredth of what came over its link, to 0.1 s: what follows is the
//	                   release, and containerd's unpacking
//	slow_seconds       scenario slow: the pull of the slow node, which is not in seconds
//	direct_seconds     scenarios single and tiny: pulls of the same bytes without Shoal
//	egress_blob_bytes  bodies of blobs that the registry sent
//	egress_bytes       all bodies that it sent, manifests too
//	egress_images      egress_bytes / image_bytes
//	client_bytes       that the daemons sent to clients
//	cpu_seconds        user and system time of all daemons
//	cpu_seconds_per_gib  of client_bytes
//	peak_bytes         the most memory that one daemon had resident (VmHWM)
//	load               the machine's one minute load average at the end
//	error              why the round failed; the figures then mean nothing
//
// The exit code is 0 when every pull succeeded, whether or not an aim was met, 1 when
// something failed, 2 when the command line makes no sense.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/shoal-project/shoal/test/e2e"
)

func main() {
	os.Exit(run(os.Args[1:])) //nolint:forbidigo // a command's exit code
}

// run is the whole command. It runs twice: outside the sandbox, where it builds what is
// needed, and inside.
func run(args []string) int {
	opts, err := parse(args, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return e2e.Complain("benchswarm", err, 2)
	}
	prepare := func(sandbox string) error {
		_, _ = fmt.Fprintln(os.Stderr, "Building the daemon, and containerd if it is not there yet ...")
		if err := e2e.PrepareTools(opts.checkout, sandbox); err != nil || opts.profile == "" {
			return err
		}
		return e2e.PrepareProfiled(opts.checkout, sandbox)
	}
	return e2e.RunCommand("benchswarm", prepare, func() error { return measure(opts) })
}
