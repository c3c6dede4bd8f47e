package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"
)

// What the documents have systemd start is a command, with flags that it has.
func TestUnitsOfTheDocuments(t *testing.T) {
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var started []string
	for _, line := range regexp.MustCompile(`(?m)^ExecStart=/usr/local/bin/shoal (.*)$`).FindAllStringSubmatch(string(text), -1) {
		a := &app{stdout: &bytes.Buffer{}, stderr: &bytes.Buffer{}}
		command, flags, err := a.rootCommand().Find(strings.Fields(line[1]))
		if err == nil {
			err = command.ParseFlags(flags)
		}
		if err == nil {
			err = command.ValidateArgs(command.Flags().Args())
		}
		if err != nil {
			t.Errorf("%s: %v", line[0], err)
			continue
		}
		started = append(started, command.CommandPath())
	}
	if got := strings.Join(started, ", "); got != "shoal serve, shoal containerd keep" {
		t.Errorf("the units start %s", got)
	}
}
