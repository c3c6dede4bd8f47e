// Package e2e is a small data centre for tests and for benchswarm: a real registry and
// any number of nodes, each with a real containerd and a Shoal daemon, in Linux namespaces
// of its own. The tests beside it say in a few lines what must happen when a peer dies, a
// peer lies, or the registry is gone.
//
// # Isolation
//
// The program starts itself once more in new network, mount, pid and ipc namespaces
// (sandbox.go) and does its work there as process 1. Whatever ends that process, be it a
// failed test, a timeout, Ctrl-C or SIGKILL, the kernel takes every daemon, mount and
// interface with it. Only a folder of files can be left behind; the next run removes it.
//
// # What it does not do
//
// It measures no speed itself, and it never reaches beyond the namespaces it made: there
// is no route out of them. Whatever needs a network (building containerd, installing
// runc) happens before, in tools.go.
package e2e
