// Package exchange speaks the chunk protocol with other members: one session for each peer
// and blob, on one libp2p stream, with the messages of pkg/wire.
//
// Both sides begin with Hello. From then on frames go both ways; a chunk's raw bytes come in
// pieces, with other messages between them, and are handed on as they come, never gathered. What
// a peer may not do (bytes that are no message, a second Hello, a chunk nobody asked for, more
// than MaxAsks asks) is a violation: it ends the session with a *ViolationError.
//
// The package decides nothing: which chunk to ask of whom, whom to serve and whom to avoid is
// the Machine's business, and whether a byte is right is the store's.
package exchange
