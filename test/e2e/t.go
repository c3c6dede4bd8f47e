package e2e

import "context"

// T is for whom a lab is built: a test, or a program that measures. *testing.T is one,
// and the methods mean what they mean there.
type T interface {
	Name() string
	Context() context.Context
	Cleanup(do func())
	Failed() bool
	Helper()
	Logf(format string, args ...any)
	Error(args ...any)
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}
