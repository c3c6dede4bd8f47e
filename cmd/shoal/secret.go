package main

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
)

// secretSize is the size of a swarm's secret, in bytes.
const secretSize = 32

func (a *app) secretCommand() *cobra.Command {
	var out string
	command := &cobra.Command{
		Use:   "secret",
		Short: "Make a secret for a swarm",
		Long: `Makes the secret that admits nodes to a swarm: 32 random bytes as 64 hex digits and
a newline. Every node of the swarm gets the same file (shoal serve --p2p-secret-file);
whoever has it can join, so keep it as you keep other keys.

To replace a secret without a gap, give every node both files, the new one first,
and take the old one away once every node has been restarted.`,
		Example: `  shoal secret --out /etc/shoal/secret
  shoal secret | kubectl create secret generic shoal --from-file=secret=/dev/stdin`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			raw := make([]byte, secretSize)
			_, _ = rand.Read(raw) // documented never to fail
			text := hex.EncodeToString(raw) + "\n"
			if out != "" {
				return writeSecret(out, text)
			}
			_, err := fmt.Fprint(a.stdout, text)
			return err
		},
	}
	command.Flags().StringVar(&out, "out", "", "write to this new `FILE`, readable by its owner only, instead of standard output")
	return command
}

// writeSecret creates the file and never replaces one: the swarm may be using it.
func writeSecret(path, text string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the user names the file
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s is there already and is not overwritten; remove it first if no node needs it", path)
	}
	if err != nil {
		return fmt.Errorf("write the secret: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write the secret: %w", err), os.Remove(path))
		}
	}()
	_, err = f.WriteString(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
