package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shoal-project/shoal/pkg/config"
	"github.com/shoal-project/shoal/pkg/containerd"
	"github.com/shoal-project/shoal/pkg/containerd/configtoml"
	"github.com/shoal-project/shoal/pkg/containerd/hoststoml"
)

const listenVariable = "SHOAL_LISTEN"

func (a *app) containerdCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "containerd",
		Short: "Make containerd ask Shoal, check that it does, and take it back",
		Long: `containerd asks Shoal for the images of a registry when the folder that its own
configuration names (config_path) has a hosts.toml for that registry with Shoal's
address in front. These commands put it there, say whether pulls really go through
Shoal, and take it out again.

They change nothing but hosts.toml files and a record of what was in them before,
.shoal-record.json in the same folder. containerd reads these files anew for each
pull and needs no restart.`,
		Example: `  shoal containerd install --registry docker.io --registry registry.k8s.io
  shoal containerd check
  shoal containerd uninstall`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	command.AddCommand(a.containerdInstallCommand(), a.containerdCheckCommand(), a.containerdUninstallCommand(), a.containerdKeepCommand())
	return command
}

// containerdFlags are what all commands about containerd have in common.
type containerdFlags struct {
	root, configFile, hostsDir string
	release                    releaseFlag
	listen                     mirrorFlag
	registries                 registriesFlag
	output                     outputFlag
}

// add gives a command the flags; the caller's own come first.
func (f *containerdFlags) add(a *app, command *cobra.Command, registry string) {
	flags := command.Flags()
	flags.SortFlags = false
	f.output.value = outputText
	f.listen.text = config.Default().Listen
	if listen := a.environment[listenVariable]; listen != "" {
		f.listen.text = listen
	}
	flags.VarP(&f.registries, "registry", "r", registry)
	flags.Var(&f.listen, "listen", "where shoal serve answers clients, as its --listen says")
	flags.StringVar(&f.root, "root", "/", "see the machine's files under this `FOLDER`, in a container that has them mounted")
	flags.StringVar(&f.configFile, "containerd-config", "", "take this as containerd's main `FILE`; unless given, that of containerd, k3s or RKE2 is found")
	flags.Var(&f.release, "containerd-version", "say so where containerd is older than 2.3, and reads its configuration differently")
	flags.StringVar(&f.hostsDir, "hosts-dir", "", "take this `FOLDER` of registries' folders, whatever containerd's configuration says")
	flags.VarP(&f.output, "output", "o", "text for people, or json: a document (docs/containerd.md)")
}

// options say which containerd is meant.
func (f *containerdFlags) options() (containerd.Options, error) {
	mirror, err := hoststoml.ParseMirror(f.listen.text)
	if err != nil {
		return containerd.Options{}, &usageError{err: fmt.Errorf("listen: %w", err)}
	}
	return containerd.Options{
		Root: f.root, ConfigFile: f.configFile, HostsDir: f.hostsDir, Release: f.release.release, Mirror: mirror,
	}, nil
}

// open finds the machine's containerd. The caller closes the node.
func (f *containerdFlags) open() (*containerd.Node, error) {
	options, err := f.options()
	if err != nil {
		return nil, err
	}
	return containerd.Open(options)
}

// show writes a document as it is, or draws it for people.
func (f *containerdFlags) show(a *app, document any, draw func(*page)) error {
	if f.output.value == outputJSON {
		encoder := json.NewEncoder(a.stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(document)
	}
	t := newTerminal(a.stdout, a.environment)
	p := &page{look: t.look(true, false)}
	draw(p)
	return t.print(p.lines)
}

// A registriesFlag is a pflag.Value for --registry.
type registriesFlag struct{ names []string }

// String implements pflag.Value.
func (f *registriesFlag) String() string { return strings.Join(f.names, ",") }

// Set implements pflag.Value; each one adds.
func (f *registriesFlag) Set(value string) error {
	for name := range strings.SplitSeq(value, ",") {
		if err := containerd.CheckRegistry(name); err != nil {
			return err
		}
		f.names = append(f.names, name)
	}
	return nil
}

// Type implements pflag.Value.
func (*registriesFlag) Type() string { return "NAME" }

// A mirrorFlag is a pflag.Value for --listen.
type mirrorFlag struct{ text string }

// String implements pflag.Value.
func (f *mirrorFlag) String() string { return f.text }

// Set implements pflag.Value.
func (f *mirrorFlag) Set(value string) error {
	_, err := hoststoml.ParseMirror(value)
	f.text = value
	return err
}

// Type implements pflag.Value.
func (*mirrorFlag) Type() string { return "HOST:PORT" }

// A releaseFlag is a pflag.Value for --containerd-version.
type releaseFlag struct {
	text    string
	release configtoml.Release
}

// String implements pflag.Value.
func (f *releaseFlag) String() string { return f.text }

// Set implements pflag.Value.
func (f *releaseFlag) Set(value string) (err error) {
	f.text = value
	f.release, err = configtoml.ParseRelease(value)
	return err
}

// Type implements pflag.Value.
func (*releaseFlag) Type() string { return "VERSION" }

// drawFindings lists what an operator should know, the worst first.
func drawFindings(p *page, findings []containerd.Finding) {
	for _, kind := range []struct {
		severity containerd.Severity
		heading  string
	}{{containerd.Problem, "Problems"}, {containerd.Warning, "Warnings"}, {containerd.Note, "Notes"}} {
		headed := false
		for _, f := range findings {
			if f.Severity != kind.severity {
				continue
			}
			if !headed {
				p.heading(kind.heading)
				headed = true
			}
			p.text("  ! " + clean(f.Message, sentenceMax))
			if f.Remedy != "" {
				p.text("    what to do: " + clean(f.Remedy, sentenceMax))
			}
		}
	}
}

func drawChanges(p *page, c containerd.Changes) {
	rows := make([][]string, len(c.Changes))
	for i, change := range c.Changes {
		rows[i] = []string{clean(change.Registry, wordMax), string(change.Action), clean(change.File, sentenceMax)}
	}
	if len(rows) > 0 {
		p.table("", []string{"REGISTRY", "DONE", "FILE"}, rows)
	}
	drawFindings(p, c.Findings)
}
