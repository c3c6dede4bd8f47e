// Command shoal runs one node's daemon and asks it what it is doing.
//
// It is the only place that reads flags and the environment, writes to a terminal and
// decides exit codes. What the daemon does is the business of pkg/daemon, what settings
// there are of pkg/config.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shoal-project/shoal/pkg/config"
)

func main() {
	a := &app{
		stdout: os.Stdout, stderr: os.Stderr, environment: environment(os.Environ()),
		start: startDaemon, exit: os.Exit,
	}
	os.Exit(a.run(context.Background(), os.Args[1:]))
}

// An app is one invocation of the command and what it may touch. It is used by one goroutine.
type app struct {
	stdout, stderr io.Writer
	// environment holds the process's variables by name.
	environment map[string]string
	// start runs the daemon until the context ends.
	start func(context.Context, config.Config, *slog.Logger) error
	// exit ends the process at once.
	exit func(code int)
}

// run executes one command line and returns the exit code.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.rootCommand() //nolint:contextcheck // cobra hands each command the context of ExecuteContextC
	root.SetArgs(args)
	begun := false // everything before a command begins is a matter of usage
	root.PersistentPreRun = func(*cobra.Command, []string) { begun = true }
	command, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if line != "" {
			a.complain("shoal: " + clean(line, sentenceMax))
		}
	}
	if !begun {
		a.complain("Run '" + command.CommandPath() + " --help' for how to use it.")
		return exitUsage
	}
	return exitCode(err)
}

// complain writes one line to standard error. There is nowhere to report a failure to.
func (a *app) complain(line string) { _, _ = fmt.Fprintln(a.stderr, line) }

// environment splits NAME=VALUE pairs.
func environment(pairs []string) map[string]string {
	variables := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		if name, value, ok := strings.Cut(pair, "="); ok {
			variables[name] = value
		}
	}
	return variables
}
