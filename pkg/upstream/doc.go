// Package upstream asks registries: it forwards what clients ask, and reads ranges of
// blobs whose every header was checked before the first byte is given out.
//
// A request carries the credential it is given and no other; the package fetches no
// tokens, keeps no passwords and retries nothing but a redirect that went stale. What to
// read, when to try again and whom to believe is decided elsewhere (scheduler, pkg/engine,
// proxy). It does not hash: bytes that passed its checks are what the registry said over
// this node's own connection, nothing more.
//
// Credentials and the queries of signed URLs appear in no error and no log line.
package upstream
