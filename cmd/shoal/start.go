package main

import (
	"context"
	"log/slog"

	"github.com/shoal-project/shoal/pkg/config"
	"github.com/shoal-project/shoal/pkg/daemon"
)

// startDaemon runs the daemon of this build until ctx ends.
func startDaemon(ctx context.Context, c config.Config, log *slog.Logger) error {
	b := thisBuild()
	return daemon.Run(ctx, c, log, daemon.Build{Version: b.Version, Commit: b.Commit})
}
