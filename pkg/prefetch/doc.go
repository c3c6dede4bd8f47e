// Package prefetch brings an image onto this node before any client asks for it: its manifests and all
// blobs of the node's platform, through the engine, so that they are proven, kept and announced like any.
//
// It uses this node's own logins, and is the only one to. It gives content to nobody: a client that comes
// later is let in by the registry, for its own credential, as if nothing had been prefetched.
package prefetch
