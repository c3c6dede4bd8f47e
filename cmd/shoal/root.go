package main

import "github.com/spf13/cobra"

// usageTemplate is cobra's, shortened, with flags wrapped.
const usageTemplate = `Usage:
  {{.UseLine}}{{if .HasAvailableSubCommands}} [command]{{end}}
{{if .HasExample}}
Examples:
{{.Example}}
{{end}}{{if .HasAvailableSubCommands}}
Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}}  {{.Short}}{{end}}{{end}}
{{end}}{{if .HasAvailableLocalFlags}}
Flags:
{{.LocalFlags.FlagUsagesWrapped 100 | trimTrailingWhitespaces}}
{{end}}{{if .HasAvailableSubCommands}}
Run '{{.CommandPath}} [command] --help' for more about a command.
{{end}}`

func (a *app) rootCommand() *cobra.Command {
	build := thisBuild()
	root := &cobra.Command{
		Use:   "shoal",
		Short: "Container images from the nodes that have them already",
		Long: `Shoal is one daemon per node. To the container runtime beside it, it is a registry
mirror on loopback. Behind that it fetches the chunks of a layer from other nodes,
proves every layer against its digest, and falls back to the registry whenever
peers are absent, slow or lying.

` + exitHelp,
		Example: `  # make the swarm's secret once, and give the same file to every node
  shoal secret --out /etc/shoal/secret

  # run the daemon; nodes find each other through any one of them
  shoal serve --p2p-secret-file /etc/shoal/secret --p2p-bootstrap node-1.example:6051

  # see what it is doing
  shoal status --watch`,
		Version:           build.Version,
		Args:              cobra.NoArgs,
		SilenceErrors:     true,
		SilenceUsage:      true,
		DisableAutoGenTag: true,
		RunE:              func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetUsageTemplate(usageTemplate)
	root.AddCommand(
		a.serveCommand(),
		a.statusCommand(),
		a.peersCommand(),
		a.layersCommand(),
		a.prefetchCommand(),
		a.containerdCommand(),
		a.cleanupCommand(),
		a.secretCommand(),
		a.versionCommand(),
	)
	return root
}
