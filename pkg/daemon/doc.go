// Package daemon puts the parts of a node together, starts them in order and stops them
// in reverse. It is the only place where proxy, p2p and pkg/engine meet: each declares
// what it needs of the others, and the adapters are here.
//
// It holds no policy and reads neither flags nor environment.
package daemon
