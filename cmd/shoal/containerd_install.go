package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/shoal-project/shoal/pkg/containerd"
)

func (a *app) containerdInstallCommand() *cobra.Command {
	flags := &containerdFlags{}
	request := containerd.InstallRequest{}
	command := &cobra.Command{
		Use:   "install",
		Short: "Make containerd ask Shoal first",
		Long: `Puts Shoal in front of the hosts that containerd asks for the images of a registry.
What is there stays: other hosts, certificates, headers and comments keep their lines.
A stopped daemon then costs a refused connection, and containerd goes to the registry.

Name a registry as images do, with its port: docker.io, registry.example:5000. _default
stands for every registry that has no folder of its own. One that has is not reached by
_default: name it, too, or add --existing.

With --enforce containerd asks Shoal and nobody else, so that no pull goes around it,
and every pull fails while the daemon is down.

All files are looked at before the first is changed, and running it again changes
nothing. Installs at the same time wait for each other; one that was interrupted is
finished by the next, or taken back by shoal containerd uninstall.`,
		Example: `  shoal containerd install --registry docker.io --registry registry.k8s.io

  # every registry, also those that have a folder already
  shoal containerd install --registry _default --existing

  # from a container that has the machine's /etc/containerd under /host
  shoal containerd install --root /host --registry docker.io`,
		Args: cobra.NoArgs,
	}
	flags.add(a, command, "make containerd ask Shoal for this registry; repeatable")
	command.Flags().BoolVar(&request.Existing, "existing", false, "also for every registry that has a folder already")
	command.Flags().BoolVar(&request.Enforce, "enforce", false, "leave no way around Shoal: while it is down, pulls fail")
	command.RunE = func(command *cobra.Command, _ []string) (err error) {
		request.Registries = flags.registries.names
		if len(request.Registries) == 0 && !request.Existing {
			return &usageError{err: errNoRegistry}
		}
		node, err := flags.open()
		if err != nil {
			return explainOpen(err)
		}
		defer func() { err = errors.Join(err, node.Close()) }()
		changes, err := node.Install(command.Context(), request)
		if err != nil && len(changes.Changes) == 0 {
			return err
		}
		return errors.Join(err, flags.show(a, changes, func(p *page) { drawChanges(p, changes) }))
	}
	return command
}

// errNoRegistry says that there is nothing to install for.
var errNoRegistry = errors.New("say for which registries: --registry docker.io, --registry _default for all others, or --existing")

// explainOpen names the flag for what cannot be found out.
func explainOpen(err error) error {
	if _, ok := errors.AsType[*containerd.AmbiguousError](err); ok {
		return &usageError{err: errors.Join(err, errors.New("use --containerd-config"))}
	}
	return err
}
