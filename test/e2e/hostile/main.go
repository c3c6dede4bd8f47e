// Command hostile lets members lie, in every mode there is (package liar), and checks what that
// costs honest nodes that pull at the same moment: a real registry, and for every node a
// network namespace with a link of a known rate, a real containerd, and a real daemon or one
// that lies. It needs root.
//
//	make hostile MODES=wrong-bytes,drip COLLUDERS=1,2 REPEAT=1 FLAGS="--logs DIR"
//
// One more member records what every node sends: it asks each for all chunks of all layers,
// while the pulls run and after them, and compares each byte, and each chain that it
// gets, with the truth.
//
// Standard output gets one JSON document a line for each run. Fields are added and never
// change their meaning:
//
//	mode                what the liars do; "honest": nobody lies, which others are compared with
//	colluders           how many nodes lie, all in the same way
//	round               from 1; a run beyond --repeat was made because one before broke its time
//	retried             how many runs of the same there were just before that took too long and broke
//	                    nothing else: with --retries the campaign judges by the last one
//	pulls, pulls_ok     of honest nodes, and how many ended with the right digests
//	wrong_bytes_served  bytes that an honest node sent to the recorder and that are not the blob's, or
//	                    not its chain's
//	seconds             of the slowest honest pull
//	time_ratio          seconds / those of the honest runs, whose median counts
//	egress_images       what the registry sent to honest nodes of blobs, in images; what a liar
//	                    reads for itself it could read without Shoal
//	egress_ratio        the same / that of the honest runs
//	quarantined         liars that an honest node has, or had, in quarantine, by status and metrics alike
//	unnamed             liars that told an honest node a lie and are not among them: none where it can be proven
//	honest_quarantined  honest members that an honest node has in quarantine: none, ever
//	sentences           how often honest nodes put somebody into quarantine, by metrics: what is over, too
//	unexplained         those that are not of a liar, by the nodes' logs: none, ever
//	audits              chunks that honest nodes read again from the registry to tell who lied
//	lies_told           lies that honest nodes were told, in whatever their mode counts: where it lies in what it
//	                    answers, answers; none means that nothing was tested, and breaks the run
//	recorded            chunks that honest nodes sent to the recorder
//	chains              chains that they sent to it, unasked
//	load                the machine's one minute load average at the end
//	broken              which bounds the run broke, in words
//	error               why it failed; the figures then mean nothing
//
// The exit code is 0 when every bound held, 1 when one broke or something failed, 2 when the
// command line makes no sense. With --retries a run that takes too long is repeated before that is believed,
// beside another honest one: the machine may have been busy.
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
		return e2e.Complain("hostile", err, 2)
	}
	prepare := func(sandbox string) error {
		_, _ = fmt.Fprintln(os.Stderr, "Building the daemons, and containerd if it is not there yet ...")
		return errors.Join(e2e.PrepareTools(opts.checkout, sandbox), e2e.PrepareHostile(opts.checkout, sandbox))
	}
	return e2e.RunCommand("hostile", prepare, func() error { return newCampaign(opts).run() })
}
