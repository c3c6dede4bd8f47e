// Command hostiled is a whole daemon that lies to its peers: "shoal serve" with a liar
// (package liar) around the host that its protocols run on. No release has it, and nothing
// of a release knows of it.
//
//	hostiled --hostile MODE --truth FOLDER serve --SETTING VALUE ...
//
// The settings are those of shoal serve, each with its value unless that is true. FOLDER is where a registry
// keeps its blobs: what the liar knows. When it has stopped it prints what it told: a line with a liar.Told in JSON for each
// listener, at most 64, and then how many lines these are.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/shoal-project/shoal/pkg/config"
	"github.com/shoal-project/shoal/pkg/daemon"
	"github.com/shoal-project/shoal/test/e2e/liar"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "hostiled:", err)
		os.Exit(1) //nolint:forbidigo // a command's exit code
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("hostiled", flag.ContinueOnError)
	name := flags.String("hostile", "", "the `mode` of lying")
	truth := flags.String("truth", "", "the `folder` with the registry's blobs")
	if err := flags.Parse(args); err != nil {
		return err
	}
	mode, err := liar.Find(*name)
	if err != nil {
		return err
	}
	settings, err := readSettings(flags.Args())
	if err != nil {
		return err
	}
	cfg, err := config.Load(config.Sources{Flags: settings})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	l := liar.New(mode, *truth)
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: cfg.LogLevel}))
	err = daemon.Run(ctx, cfg, log, daemon.Build{Version: "hostile"}, daemon.Around(l.Around))
	l.Close()
	if ctx.Err() != nil {
		err = nil // it was asked to stop
	}
	return errors.Join(err, report(l.Told()))
}

// report prints what each listener was told.
func report(all []liar.Told) error {
	out := json.NewEncoder(os.Stdout)
	for _, told := range all {
		if err := out.Encode(told); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(os.Stdout, "listeners: %d\n", len(all))
	return err
}

// readSettings reads what follows "serve". A setting without a value is true.
func readSettings(args []string) (map[string][]string, error) {
	if len(args) == 0 || args[0] != "serve" {
		return nil, fmt.Errorf("%q is not serve and settings", args)
	}
	settings := make(map[string][]string)
	for rest := args[1:]; len(rest) > 0; {
		key, ok := strings.CutPrefix(rest[0], "--")
		if !ok {
			return nil, fmt.Errorf("%q is no setting", rest[0])
		}
		value := "true"
		if rest = rest[1:]; len(rest) > 0 && !strings.HasPrefix(rest[0], "--") {
			value, rest = rest[0], rest[1:]
		}
		settings[key] = append(settings[key], value)
	}
	return settings, nil
}
