package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Set when linking: -ldflags "-X main.version=... -X main.commit=...".
//
//nolint:gochecknoglobals // the linker can only set package variables; nothing else does
var version, commit string

// A build says what this program was made from. Its JSON is stable.
type build struct {
	Version   string `json:"version"`
	Commit    string `json:"commit"`
	GoVersion string `json:"go_version"`
	Platform  string `json:"platform"`
}

// thisBuild takes what the linker was told, else what the go command noted.
func thisBuild() build {
	b := build{Version: version, Commit: commit, GoVersion: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	if b.Version == "" {
		b.Version = info.Main.Version
	}
	if b.Version == "" || b.Version == "(devel)" {
		b.Version = "devel"
	}
	if b.Commit == "" {
		b.Commit = revision(info.Settings)
	}
	return b
}

func revision(settings []debug.BuildSetting) string {
	found, modified := "unknown", ""
	for _, s := range settings {
		switch {
		case s.Key == "vcs.revision":
			found = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "-dirty"
		}
	}
	return found + modified
}

func (a *app) versionCommand() *cobra.Command {
	output := outputFlag{value: outputText}
	command := &cobra.Command{
		Use:   "version",
		Short: "Print what this program was built from",
		Example: `  shoal version
  shoal version -o json | jq -r .commit`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := thisBuild()
			if output.value == outputJSON {
				return json.NewEncoder(a.stdout).Encode(b)
			}
			_, err := fmt.Fprintf(a.stdout, "shoal %s\ncommit %s\n%s %s\n", b.Version, b.Commit, b.GoVersion, b.Platform)
			return err
		},
	}
	command.Flags().VarP(&output, "output", "o", "text, or json: an object with version, commit, go_version and platform")
	return command
}
