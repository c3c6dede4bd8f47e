// Package p2p runs this node's libp2p host: its identity, its listeners, its limits, and
// the members it is connected to.
//
// The host speaks TCP only, secured by p2p/admission and multiplexed by yamux. It has no
// relay, no NAT traversal and no mDNS: nodes reach each other directly or not at all. What
// is said over its streams is the business of p2p/discovery, p2p/exchange and p2p/resolve.
package p2p
