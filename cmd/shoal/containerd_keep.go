package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/shoal-project/shoal/pkg/config"
	"github.com/shoal-project/shoal/pkg/containerd"
)

func (a *app) containerdKeepCommand() *cobra.Command {
	flags := &containerdFlags{}
	request := containerd.InstallRequest{}
	command := &cobra.Command{
		Use:   "keep",
		Short: "Make containerd ask Shoal for as long as this runs",
		Long: `Waits until Shoal answers, does what shoal containerd install does, and does it again
whenever others have undone it. At SIGTERM or SIGINT it gives the files back as they
were, as shoal containerd uninstall does, so that containerd asks the registries
themselves before Shoal is gone. It does the same while something else than Shoal has
its port. With --enforce it leaves them: there shall be no way
around Shoal. Then only shoal containerd uninstall, or shoal cleanup, takes them back.

It is what runs beside the daemon in a pod, with the right to write these files, which
the daemon itself has no use for. What it does is logged to standard error.`,
		Example: `  # in a container that has the machine's /etc/containerd under /host
  shoal containerd keep --root /host --registry _default --existing`,
		Args: cobra.NoArgs,
	}
	flags.add(a, command, "make containerd ask Shoal for this registry; repeatable")
	command.Flags().BoolVar(&request.Existing, "existing", false, "also for every registry that has a folder already")
	command.Flags().BoolVar(&request.Enforce, "enforce", false, "leave no way around Shoal: while it is down, pulls fail")
	command.Flags().Lookup("output").Usage = "how log records are written: text, or json"
	command.RunE = func(command *cobra.Command, _ []string) error {
		request.Registries = flags.registries.names
		if len(request.Registries) == 0 && !request.Existing {
			return &usageError{err: errNoRegistry}
		}
		options, err := flags.options()
		if err != nil {
			return err
		}
		ctx, stop := a.untilSignal(command.Context())
		defer stop()
		log := newLogger(a.stderr, config.Config{LogFormat: config.LogFormat(flags.output.value)})
		return containerd.Keep(ctx, options, containerd.KeepRequest{
			Install: request, Ask: containerd.Ask,
			Tell: func(c containerd.Changes, err error) { tellChanges(ctx, log, c, err) },
		})
	}
	return command
}

// tellChanges logs what was done to containerd's files.
func tellChanges(ctx context.Context, log *slog.Logger, c containerd.Changes, err error) {
	for _, change := range c.Changes {
		log.InfoContext(ctx, "containerd's file", "registry", change.Registry, "done", string(change.Action), "file", change.File)
	}
	for _, f := range c.Findings {
		log.WarnContext(ctx, "containerd's files deserve attention", "code", string(f.Code), "what", f.Message, "remedy", f.Remedy)
	}
	if err != nil {
		log.WarnContext(ctx, "containerd does not ask Shoal yet", "err", err)
	}
}
