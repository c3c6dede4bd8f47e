package store

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/shoal-project/shoal/pkg/blob"
)

// Errors to branch on. All are wrapped with what was attempted.
var (
	// ErrNotFound means that the store does not hold the blob, proven.
	ErrNotFound = errors.New("blob not in the store")
	// ErrProven means that the blob is proven and in its place, so that there is no partial one.
	ErrProven = errors.New("blob is proven already")
	// ErrLive means that somebody works on the partial blob.
	ErrLive = errors.New("partial blob is in use")
	// ErrHeld means that the chunk is there, or being written by somebody else.
	ErrHeld = errors.New("chunk is held or being written")
	// ErrNotHeld means that the chunk is not there.
	ErrNotHeld = errors.New("chunk is not held")
	// ErrNotServable means that the bytes may not leave this node: missing, Q, or replaced meanwhile.
	ErrNotServable = errors.New("bytes are not servable")
	// ErrNotProven means that links are missing between the IV and the digest.
	ErrNotProven = errors.New("blob is not proven")
	// ErrLength means that a chunk's reader held fewer or more bytes than the geometry says.
	ErrLength = errors.New("chunk length does not match the geometry")
	// ErrChunk means that the blob has no such chunk.
	ErrChunk = errors.New("no such chunk")
	// ErrMismatch means that bytes do not hash to the digest they were given for.
	ErrMismatch = errors.New("bytes do not match the digest")
	// ErrTooLarge means that a blob is above the limit for blobs kept in memory.
	ErrTooLarge = errors.New("blob too large")
	// ErrClosed means that the store or the partial blob was closed.
	ErrClosed = errors.New("store is closed")
	// ErrLocked means that another daemon uses the folder.
	ErrLocked = errors.New("folder is in use by another daemon")
	// ErrDisk is what every *DiskError is.
	ErrDisk = errors.New("disk failed")
	// ErrDiskFull is what a *DiskError is, besides, when there was no room.
	ErrDiskFull = errors.New("no room on disk")

	errState = errors.New("malformed state file")
	errChain = errors.New("malformed chain file")
)

// A DiskError reports that this node could not keep or read bytes. It is ErrDisk, and
// ErrDiskFull when room was lacking; the blob can still be streamed through from upstream.
type DiskError struct {
	Op  string // what was attempted
	Err error
}

func (e *DiskError) Error() string { return fmt.Sprintf("%s: %v", e.Op, e.Err) }

// Unwrap gives the file system's error.
func (e *DiskError) Unwrap() error { return e.Err }

// Is matches ErrDisk, and ErrDiskFull for a full disk, quota or budget.
func (e *DiskError) Is(target error) bool {
	switch target {
	case ErrDisk:
		return true
	case ErrDiskFull:
		return errors.Is(e.Err, syscall.ENOSPC) || errors.Is(e.Err, syscall.EDQUOT)
	default:
		return false
	}
}

// A LinkError reports a chunk whose bytes do not continue the chain that was claimed.
// Whether the chunk's sender or the chain's supplier lied, it cannot tell.
type LinkError struct {
	Blob  blob.Digest
	Chunk blob.ChunkIndex
}

func (e *LinkError) Error() string {
	return fmt.Sprintf("link of chunk %d of blob %s does not hold", e.Chunk, e.Blob.Short())
}

func chunkError(i blob.ChunkIndex, g blob.Geometry) error {
	return fmt.Errorf("%w: %d of %d", ErrChunk, i, g.Chunks())
}
