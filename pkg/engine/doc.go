// Package engine carries out what the scheduler decides.
//
// One goroutine owns the Machine: it feeds it events in the order in which they became
// known and performs the actions that come back. Work that blocks (reading upstream,
// opening a session, hashing) runs in goroutines of its own and reports by an event.
//
// The engine holds no policy. It does not choose a peer, a chunk or a time-out; it does
// not decide what is proven either: that is the store, over bytes it hashed itself.
package engine
