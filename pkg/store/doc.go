// Package store keeps blobs on disk and is the only maker of proven ones.
//
// A blob begins as a Partial: chunks arrive in any order, from upstream (R) or from peers
// (Q), and the store hashes them itself, link by link, until the chain closes from the IV
// to the digest. Only then is it proven, and only then does a rename put it in its place.
// Nobody can tell the store that bytes are right.
//
// On disk, below Config.Dir:
//
//	lock                   held by the one daemon that uses the folder
//	blobs/sha256/<hex>     proven, read-only; the modification time is the last use, coarsely
//	chains/<hex>           a blob's chain, so that it need not be hashed again to be told
//	partial/<hex>/data     the chunks at their places, sparse
//	partial/<hex>/state    a slot for each chunk: origin and checksum
//
// Every one of them is a cache: whatever is deleted while the daemon is stopped, nothing
// is lost but time. A blob goes into place by write, fsync, rename, fsync of the folder,
// so that a name in blobs/ stands for bytes that were hashed. From then on its bytes are
// trusted as the disk returns them: hashing gigabytes before every answer would cost more
// than it finds. What is checked is the size, when a blob is opened, against the size in
// its chain; the digest, when a chain must be built anew; and, because it is cheap, the
// digest of every small blob that GetBytes returns. What fails is dropped, never served.
//
// A slot's checksum is keyed with a secret of the partial blob, because the bytes of a
// peer can lie where the slot says R: a power cut may keep the slot of a repaired chunk
// and lose the repair. A peer could forge a CRC; so a chunk counts after a restart only if
// its bytes are those that the slot was written for. What was V comes back as Q, to be
// checked again without being fetched again.
//
// The package speaks to no network and decides no policy: whom to ask, whom to blame and
// when to give up are the scheduler's. It wakes nobody either: who writes a chunk tells
// those who wait for it.
package store
