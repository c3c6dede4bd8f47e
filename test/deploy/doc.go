// Package deploy holds the tests of what is under deploy: that the chart and the
// kustomizations make the same objects, ask for no more than they need, and refuse values
// that make no sense. It is a module of its own, since Helm and kustomize bring half of
// Kubernetes with them, which the daemon has no use for.
package deploy
