// Package liar is what a hostile member says in place of what its daemon would say. It goes
// around the libp2p host of a real daemon (daemon.Around), which goes on behind it as a
// mask: it joins the swarm, pulls, announces and opens sessions as any node does, so that
// others come to be lied to.
//
// A liar knows the truth: it is given the folder in which the lab's registry keeps its
// blobs, as somebody would who pulled the image before. So it claims to have everything
// from the first message on, and its chains are wrong where it wants them to be. All
// liars of one mode tell the same lie, as if they had agreed on it.
//
// Each mode has its bound, what it may cost honest nodes at most, beside it (mode.go).
package liar
