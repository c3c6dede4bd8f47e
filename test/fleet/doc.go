// Package fleet runs real Shoal daemons on this machine: a registry in this process, an
// image of random layers, one process a node, all on loopback. The demonstration and the
// benchmarks stand on it.
//
// It tests nothing by itself, and knows nothing of containerd: test/e2e does.
package fleet
