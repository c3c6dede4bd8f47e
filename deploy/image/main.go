// Command image makes Shoal's container image without a container engine, and pushes it.
//
//	go run ./deploy/image build --out dist --version v1.2.3 --commit SHA --epoch 1700000000
//	go run ./deploy/image push --from dist/oci registry.example/shoal:v1.2.3
//
// What it makes depends on the source, the version of Go and its flags only, and not on the
// folder, the machine or the time: the same input gives the same digests, bit for bit.
// It does not sign anything.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

const help = `Makes Shoal's container image for linux/amd64 and linux/arm64, and pushes it. No container
engine is needed.

  image build   builds the daemon and writes OUT/oci (an OCI layout) and OUT/shoal-oci.tar (the same)
  image push    pushes an OCI layout to a registry

Run "image build --help" or "image push --help" for the flags. Usually it is:

  make image
  make push REF=registry.example/shoal:v1.2.3

What is in it: the static daemon, Mozilla's CA certificates, and nothing else. A list of the
modules that the daemon was built from (SPDX 2.3, JSON) goes beside each platform's image as an
OCI referrer: "oras discover REF --platform linux/amd64" shows it.

To run the archive without a registry: ctr --namespace k8s.io images import shoal-oci.tar
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		_, _ = fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 || strings.Trim(args[0], "-") == "help" || args[0] == "-h" {
		_, err := fmt.Fprint(os.Stdout, help)
		return err
	}
	switch args[0] {
	case "build":
		return runBuild(ctx, args[1:])
	case "push":
		return runPush(ctx, args[1:])
	}
	return fmt.Errorf("%q is neither build nor push; see --help", args[0])
}

// newFlags is a command's set of flags, with its usage before them.
func newFlags(name, usage string) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(os.Stderr)
	flags.Usage = func() {
		_, _ = fmt.Fprint(flags.Output(), usage, "\nFlags:\n")
		flags.PrintDefaults()
	}
	return flags
}
