package main

import "errors"

// The values of --output.
const (
	outputText = "text"
	outputJSON = "json"
)

// An outputFlag is a pflag.Value for --output.
type outputFlag struct{ value string }

// String implements pflag.Value.
func (f *outputFlag) String() string { return f.value }

// Set implements pflag.Value.
func (f *outputFlag) Set(value string) error {
	if value != outputText && value != outputJSON {
		return errors.New("must be text or json")
	}
	f.value = value
	return nil
}

// Type implements pflag.Value: what stands for the value in help.
func (*outputFlag) Type() string { return "text|json" }
