// Package clients tests Shoal with other clients than containerd: the real tools, each as its
// users set it up (docs/clients.md), in the data centre of package e2e.
//
// Each test has two nodes. On the first the tool pulls through Shoal, which reads the registry.
// On the second everything comes from the first. The tool itself never speaks with the registry;
// where it can fall back, it does once the daemon is stopped.
package clients
