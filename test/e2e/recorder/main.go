// Command recorder is an honest member that has nothing and asks every other member for every
// chunk of everything, as soon as the member says that it has it. It compares each byte
// that comes, and each state of a chain, with the truth, so it sees at the wire whether a node passes on what is wrong.
//
//	recorder --secret FILE --listen MULTIADDR --bootstrap HOST:PORT,... --truth FOLDER --out FILE DIGEST ...
//
// FOLDER is where a registry keeps its blobs. FILE gets a report (type Report) several times
// a second, each time whole. It never tells that it has anything, so nobody asks it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/shoal-project/shoal/p2p"
	"github.com/shoal-project/shoal/p2p/admission"
	"github.com/shoal-project/shoal/p2p/discovery"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "recorder:", err)
		os.Exit(1) //nolint:forbidigo // a command's exit code
	}
}

func run(args []string) (err error) {
	flags := flag.NewFlagSet("recorder", flag.ContinueOnError)
	secretFile := flags.String("secret", "", "the `file` with the swarm's secret")
	listen := flags.String("listen", p2p.DefaultListen, "where others reach it")
	bootstrap := flags.String("bootstrap", "", "first contacts, with commas")
	truth := flags.String("truth", "", "the `folder` with the registry's blobs")
	out := flags.String("out", "", "the `file` for reports")
	if err := flags.Parse(args); err != nil {
		return err
	}
	secret, _, err := admission.LoadSecret(*secretFile)
	if err != nil {
		return err
	}
	blobs, err := readTruth(*truth, flags.Args())
	if err != nil {
		return err
	}
	host, err := p2p.New(p2p.Config{Listen: []string{*listen}, Secrets: []admission.Secret{secret}, Version: "recorder"})
	if err != nil {
		return err
	}
	defer func() { _ = host.Close() }() // it ends with the process
	found, err := discovery.New(discovery.Config{Host: host, Bootstrap: strings.Split(*bootstrap, ",")})
	if err != nil {
		return err
	}
	defer func() { _ = found.Close() }() // it ends with the process
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return newRecorder(host, blobs, *out).run(ctx)
}
