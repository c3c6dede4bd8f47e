package main

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/shoal-project/shoal/pkg/config"
	"github.com/shoal-project/shoal/pkg/containerd"
	"github.com/shoal-project/shoal/pkg/store"
)

func (a *app) cleanupCommand() *cobra.Command {
	flags := &containerdFlags{}
	dataDir := config.Default().DataDir
	stay := false
	command := &cobra.Command{
		Use:   "cleanup",
		Short: "Take what is left of Shoal off this machine",
		Long: `For a machine from which Shoal was taken for good: gives containerd's files back as
they were (shoal containerd uninstall), and deletes the store. It fails, and deletes
nothing, while a daemon uses the store, and where the folder is not a store's. Folders
for containerd's content that are empty go as well: containerd keeps it elsewhere, and
a kubelet made them for the daemon's pod. What is gone already is no error: run it again
whenever it was interrupted.`,
		Example: `  shoal cleanup

  # in a container that has the machine's /etc/containerd and /var/lib under /host
  shoal cleanup --root /host`,
		Args: cobra.NoArgs,
	}
	flags.add(a, command, "only for this registry; repeatable")
	command.Flags().StringVar(&dataDir, "data-dir", dataDir, "`FOLDER` of the store on the machine, as shoal serve was told")
	command.Flags().BoolVar(&stay, "stay", false, "do not end until SIGTERM or SIGINT, for whoever starts it again when it ends")
	command.RunE = func(command *cobra.Command, _ []string) error {
		ctx, stop := a.untilSignal(command.Context())
		defer stop()
		err := flags.uninstall(ctx, a, containerd.UninstallRequest{Registries: flags.registries.names})
		if err = errors.Join(err, eraseStore(filepath.Join(flags.root, dataDir))); err != nil {
			return err
		}
		if err := containerd.RemoveEmptyContent(flags.root); err != nil {
			return err
		}
		if stay {
			<-ctx.Done()
		}
		return nil
	}
	return command
}

func eraseStore(dir string) error {
	switch err := store.Erase(dir); {
	case errors.Is(err, store.ErrLocked):
		return fmt.Errorf("%w: stop shoal serve first, then run this again", err)
	case errors.Is(err, store.ErrNoStore):
		return fmt.Errorf("%w: nothing in it is deleted; say where the store is with --data-dir", err)
	default:
		return err
	}
}
