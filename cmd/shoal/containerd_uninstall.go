package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/shoal-project/shoal/pkg/containerd"
)

func (a *app) containerdUninstallCommand() *cobra.Command {
	flags := &containerdFlags{}
	request := containerd.UninstallRequest{}
	command := &cobra.Command{
		Use:   "uninstall",
		Short: "Give containerd's files back as they were",
		Long: `Gives every hosts.toml back byte for byte as it was before shoal containerd install,
and takes away files and folders that install made. A file that was edited since keeps
the edits and loses Shoal's lines alone. Where these were edited themselves it is left
as it is, with an exit code of 1 and a word on what to do.

Do this before shoal serve goes away for good, above all after --enforce.`,
		Example: `  shoal containerd uninstall
  shoal containerd uninstall --registry docker.io

  # put back what was there before, and lose what was edited since
  shoal containerd uninstall --force`,
		Args: cobra.NoArgs,
	}
	flags.add(a, command, "only for this registry; repeatable")
	command.Flags().BoolVar(&request.Force, "force", false, "put back what was there before also where it was edited since")
	command.RunE = func(command *cobra.Command, _ []string) error {
		request.Registries = flags.registries.names
		return flags.uninstall(command.Context(), a, request)
	}
	return command
}

// uninstall gives the files back, shows what was done, and fails where one had to be left as
// it is.
func (f *containerdFlags) uninstall(ctx context.Context, a *app, request containerd.UninstallRequest) (err error) {
	node, err := f.open()
	if err != nil {
		return explainOpen(err)
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	changes, err := node.Uninstall(ctx, request)
	shown := f.show(a, changes, func(p *page) { drawUninstalled(p, changes) })
	kept := 0
	for _, c := range changes.Changes {
		if c.Action == containerd.Kept {
			kept++
		}
	}
	if kept > 0 {
		err = errors.Join(err, fmt.Errorf("%s left as it is: see above", plural(kept, "file")))
	}
	return errors.Join(err, shown)
}

func drawUninstalled(p *page, c containerd.Changes) {
	if len(c.Changes) == 0 {
		p.text("There is nothing of Shoal's in containerd's files.")
	}
	drawChanges(p, c)
}
