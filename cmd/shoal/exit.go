package main

import (
	"errors"

	"github.com/shoal-project/shoal/pkg/admin"
)

// The exit codes of every command.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitIneffective = 4
	// exitKilled is what a shell shows for a process that ended by SIGINT.
	exitKilled = 130
)

// exitHelp documents the codes; it is part of the root command's help.
const exitHelp = `Exit codes:
  0    all went well
  1    the command failed
  2    a flag, a setting or an argument is wrong
  3    no daemon answers on the admin socket, or where containerd asks it
  4    shoal containerd check: pulls do not go through Shoal
  130  a second signal ended shoal serve before it had shut down`

// A usageError is a mistake in what the user wrote rather than in what happened.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }

func (e *usageError) Unwrap() error { return e.err }

// exitCode is the code for a command that began and failed with err.
func exitCode(err error) int {
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	if no, ok := errors.AsType[*ineffectiveError](err); ok {
		return no.code
	}
	if _, ok := errors.AsType[*admin.UnreachableError](err); ok {
		return exitUnreachable
	}
	return exitFailure
}
