// Package resolve asks other members what a tag means, or for a manifest: one question, one
// answer, on a stream of its own (/shoal/resolve/1).
//
// What a manifest's bytes are is proven by its digest, here. What a tag means is only what
// the member says that upstream said; whether that is good enough is for the caller to judge.
package resolve
