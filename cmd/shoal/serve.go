package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/shoal-project/shoal/pkg/config"
)

func (a *app) serveCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "serve",
		Short: "Run the daemon of this node",
		Long: `Runs the daemon until SIGTERM or SIGINT; a second one ends it at once. Stopping it
costs nothing but a refused connection: the runtime goes on with the registry.

Every setting can be made in four ways. The first of them that makes it counts:
  flag         --data-dir /srv/shoal
  environment  SHOAL_DATA_DIR=/srv/shoal     (lists: values separated by commas)
  file         data-dir: /srv/shoal          (--config; lists: "- VALUE" lines)
  default      as shown below

Point containerd at it, for each registry, as in /etc/containerd/certs.d/docker.io/hosts.toml:
  server = "https://registry-1.docker.io"
  [host."http://127.0.0.1:6050"]
    capabilities = ["pull", "resolve"]
    dial_timeout = "200ms"`,
		Example: `  # a node that runs alone: a cache of the registry
  shoal serve --data-dir ./shoal --admin-socket ./shoal.sock

  # a member of a swarm, found through a headless Service
  shoal serve --p2p-secret-file /etc/shoal/secret \
    --p2p-bootstrap shoal.kube-system.svc.cluster.local:6051

  # the same from a file
  shoal serve --config /etc/shoal/shoal.yaml`,
		Args: cobra.NoArgs,
	}
	load := a.addSettings(command)
	command.RunE = func(command *cobra.Command, _ []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		if c.DataDir, err = filepath.Abs(c.DataDir); err != nil {
			return fmt.Errorf("find the folder of data-dir %s: %w", c.DataDir, err)
		}
		return a.serve(command.Context(), c)
	}
	return command
}

// serve runs the daemon until a signal asks it to stop.
func (a *app) serve(ctx context.Context, c config.Config) error {
	ctx, stop := a.untilSignal(ctx)
	defer stop()
	if err := preflight(ctx, c); err != nil {
		return err
	}
	log := newLogger(a.stderr, c)
	for _, w := range c.Warnings() {
		log.WarnContext(ctx, "a setting deserves attention", slog.String("warning", w))
	}
	err := a.start(ctx, c, log)
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, errStopped)) {
		return nil // it was asked to stop, and says that it did
	}
	return err
}

func newLogger(w io.Writer, c config.Config) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.LogLevel}
	if c.LogFormat == config.LogJSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
