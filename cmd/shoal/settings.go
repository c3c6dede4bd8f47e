package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shoal-project/shoal/pkg/config"
)

const (
	configFlag     = "config"
	configVariable = "SHOAL_CONFIG"
	socketFlag     = "admin-socket"
	socketVariable = "SHOAL_ADMIN_SOCKET"
)

// A settingFlag is a pflag.Value that keeps what was written on the command line, for
// pkg/config to read.
type settingFlag struct {
	setting config.Setting
	values  []string
}

// String implements pflag.Value: the default, for help.
func (f *settingFlag) String() string { return strings.Join(f.setting.Default, ",") }

// Set implements pflag.Value. A flag that takes one value takes the last one given.
func (f *settingFlag) Set(value string) error {
	if f.setting.Kind != config.List {
		f.values = f.values[:0]
	}
	f.values = append(f.values, value)
	return nil
}

// Type implements pflag.Value: what stands for the value in help.
func (f *settingFlag) Type() string {
	if f.setting.Kind == config.Switch {
		return "bool"
	}
	return f.setting.Placeholder
}

// addSettings gives the command a flag for every setting and --config. The function it
// returns reads the settings from wherever they were made.
func (a *app) addSettings(command *cobra.Command) func() (config.Config, error) {
	settings := map[string]*settingFlag{}
	command.Flags().SortFlags = false
	for _, s := range config.Settings() {
		f := &settingFlag{setting: s}
		settings[s.Key] = f
		flag := command.Flags().VarPF(f, s.Key, "", s.Usage)
		if s.Kind == config.Switch {
			flag.NoOptDefVal = "true"
		}
	}
	file := command.Flags().String(configFlag, a.environment[configVariable], "YAML `FILE` with the same keys as these flags")
	return func() (config.Config, error) {
		src := config.Sources{Flags: map[string][]string{}, Environment: maps.Clone(a.environment), FileName: *file}
		delete(src.Environment, configVariable)
		for key, f := range settings {
			if command.Flags().Changed(key) {
				src.Flags[key] = f.values
			}
		}
		if *file != "" {
			content, err := readBounded(*file, config.FileMax)
			if err != nil {
				return config.Config{}, &usageError{err: fmt.Errorf("--%s: %w", configFlag, err)}
			}
			src.File = content
		}
		c, err := config.Load(src)
		if err != nil {
			return config.Config{}, &usageError{err: err}
		}
		return c, nil
	}
}

// readBounded reads at most one byte more than limit, so that the reader can tell.
func readBounded(path string, limit int64) (_ []byte, err error) {
	f, err := os.Open(path) //nolint:gosec // the user names the file
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return io.ReadAll(io.LimitReader(f, limit+1))
}

// socketDefault is where the admin socket is unless a flag says otherwise.
func (a *app) socketDefault() string {
	if path := a.environment[socketVariable]; path != "" {
		return path
	}
	return config.Default().AdminSocket
}
