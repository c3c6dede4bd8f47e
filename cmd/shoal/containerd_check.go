package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/shoal-project/shoal/pkg/containerd"
	"github.com/shoal-project/shoal/pkg/containerd/criprobe"
)

func (a *app) containerdCheckCommand() *cobra.Command {
	flags := &containerdFlags{}
	filesOnly, probe, socket := false, false, ""
	command := &cobra.Command{
		Use:   "check",
		Short: "Say whether the pulls of this node go through Shoal, and why not",
		Long: `Reads what containerd reads, in the order in which containerd does: its configuration
with all that it imports, and the hosts.toml that decides for each registry. Then it asks
Shoal whether it answers. Nothing is changed.

With --probe it also has containerd pull a tiny image that only Shoal has, by a name that
was never used, and asks Shoal whether that pull came by. The image is removed again.

Without --registry it checks what shoal containerd install was asked for, or else
whatever hosts.toml names Shoal.

Exit codes:
  0  pulls from all these registries go through Shoal
  1  that cannot be told
  2  a flag is wrong
  3  they would, but Shoal does not answer
  4  they do not`,
		Example: `  shoal containerd check
  shoal containerd check --registry docker.io && echo through Shoal
  shoal containerd check --probe
  shoal containerd check -o json | jq '.findings[] | select(.severity == "problem")'`,
		Args: cobra.NoArgs,
	}
	flags.add(a, command, "check this registry; repeatable")
	command.Flags().BoolVar(&filesOnly, "files-only", false, "do not ask Shoal whether it answers")
	command.Flags().BoolVar(&probe, "probe", false, "prove it by a pull of a tiny image through CRI, from each registry")
	command.Flags().StringVar(&socket, "containerd-socket", "", "pull through this `SOCKET`; unless given, that of containerd's configuration")
	command.RunE = func(command *cobra.Command, _ []string) (err error) {
		if filesOnly && probe {
			return &usageError{err: errors.New("--probe asks Shoal, and --files-only does not: give one of them")}
		}
		node, err := flags.open()
		if err != nil {
			return explainOpen(err)
		}
		defer func() { err = errors.Join(err, node.Close()) }()
		request := containerd.CheckRequest{Registries: flags.registries.names, Ask: containerd.Ask}
		if filesOnly {
			request.Ask = nil
		}
		if probe {
			if socket == "" {
				socket = node.Socket()
			}
			pull := func(ctx context.Context, reference string) error { return criprobe.Pull(ctx, socket, reference) }
			request.Probe = containerd.Probe{Pull: pull, Asked: containerd.Asked}
		}
		report, err := node.Check(command.Context(), request)
		if err != nil {
			return err
		}
		if err := flags.show(a, report, func(p *page) { drawReport(p, report) }); err != nil {
			return err
		}
		return verdict(report)
	}
	return command
}

// An ineffectiveError says that the answer of a check is no.
type ineffectiveError struct {
	code    int
	message string
}

func (e *ineffectiveError) Error() string { return e.message }

// verdict makes the exit code of a report.
func verdict(r containerd.Report) error {
	switch {
	case r.Effective:
		return nil
	case r.Problems(containerd.CodeDaemonDown):
		return &ineffectiveError{exitIneffective, "pulls of this node do not go through Shoal"}
	case slices.ContainsFunc(r.Registries, isEnforced):
		return &ineffectiveError{exitUnreachable, "pulls fail until shoal serve answers"}
	default:
		return &ineffectiveError{exitUnreachable, "pulls go straight to the registries until shoal serve answers"}
	}
}

func isEnforced(r containerd.Registry) bool { return r.Asked && r.State == containerd.Enforced }

func drawReport(p *page, r containerd.Report) {
	answer := "no"
	if r.Effective {
		answer = "yes"
		if slices.ContainsFunc(r.Findings, func(f containerd.Finding) bool { return f.Severity == containerd.Warning }) {
			answer = "yes, but see the warnings"
		}
	}
	p.heading("Do pulls go through Shoal? " + answer)
	rows := [][]string{{"mirror", clean(r.Mirror, wordMax)}}
	if r.ConfigFile != "" {
		rows = append(rows, []string{"configuration", clean(r.ConfigFile, sentenceMax)}, []string{"config_path", pathText(r)})
	}
	p.table("  ", nil, rows)
	if len(r.Registries) > 0 {
		p.heading("Registries")
		table := make([][]string, len(r.Registries))
		for i, registry := range r.Registries {
			table[i] = []string{clean(registry.Name, wordMax), stateText(registry), clean(orDash(registry.File), sentenceMax)}
		}
		p.table("  ", []string{"REGISTRY", "PULLS GO", "DECIDED BY"}, table)
	}
	drawFindings(p, r.Findings)
}

func pathText(r containerd.Report) string {
	text := clean(orDash(r.ConfigPath), sentenceMax)
	if r.ConfigPathFile != "" && r.ConfigPathFile != r.ConfigFile {
		text += fmt.Sprintf(" (set in %s)", clean(r.ConfigPathFile, sentenceMax))
	}
	return text
}

func stateText(r containerd.Registry) string {
	switch r.Probed {
	case containerd.ProbedThroughShoal:
		return "through Shoal, as a pull has proved"
	case containerd.ProbedElsewhere, containerd.ProbedFailed:
		return "elsewhere, as a pull has shown"
	}
	switch r.State {
	case containerd.ThroughShoal:
		return "through Shoal"
	case containerd.Enforced:
		return "through Shoal only"
	case containerd.Elsewhere:
		return "elsewhere"
	default:
		return clean(string(r.State), wordMax)
	}
}
