// Package content offers what containerd keeps: the blobs in its content folder, as long as
// they are there. It never writes to that folder, and no pull waits for it.
//
// containerd names the blobs over its socket (a Runtime), and says when that changes. The
// bytes are read from the folder itself. Before a blob is offered, all of it is hashed in the
// background, at a limited rate, which also makes its chain; a file that does not hash to its
// name is not offered.
//
// # What a proof is worth
//
// The folder is another program's, and a file can change after it was hashed. So a proof is
// about one file as the file system knows it: inode, size, time of the last write and of the
// last change. It is kept over restarts together with the chain, and whoever opens the blob
// compares. A file that is not the same any more is not offered until it was hashed anew.
// An attacker who can write there and set the clock back is root; and the disk may rot. So a
// chunk goes to a peer only from memory, after these very bytes were hashed against the chain.
// Clients of this node read the file itself, after the comparison, as they do from the store.
//
// A blob that containerd removes while it is served is served to the end: an open file stays.
//
// The package decides nothing about who may have a blob, and keeps no copy of any.
package content
