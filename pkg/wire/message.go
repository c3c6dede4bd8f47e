package wire

import (
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
)

// A Message is what one peer tells another about one blob. The set is sealed. A message that
// was encoded or handed over to be is not changed any more: several sessions may share it.
//
//sumtype:decl
type Message interface{ message() }

// Hello opens a session, on both sides: this is the blob, and this is its size.
type Hello struct {
	Blob blob.Digest
	Size blob.ByteCount
}

// Have names chunks that the sender will serve, in addition to those it named before.
type Have struct{ Chunks blob.Bitset }

// Ask wants the chunk. It is answered exactly once, by that Chunk or by Busy.
type Ask struct{ Chunk blob.ChunkIndex }

// Cancel no longer wants a chunk that was asked for. It is answered Busy, unless the Ask has its
// answer already.
type Cancel struct{ Chunk blob.ChunkIndex }

// Chunk is the header of a piece of a chunk: Length raw bytes follow the frame. A chunk comes in
// pieces from its beginning to its end, each as long as Piece says; other messages may come
// between two of them, other chunks may not.
type Chunk struct {
	Chunk  blob.ChunkIndex
	Length blob.ByteCount
}

// Busy answers an Ask that will not be served: too much to do, the chunk is not here, or it
// was cancelled.
type Busy struct{ Chunk blob.ChunkIndex }

// Chain is the blob's chain without its two ends, which a receiver knows itself. It is a claim.
type Chain struct{ Inner []chain.State }

// Peers names other members of the blob's swarm.
type Peers struct{ Contacts []Contact }

// A Contact says who a member is and where it may be reached. Both are claims.
type Contact struct {
	Peer      string   // the bytes of a libp2p peer ID
	Addresses [][]byte // multiaddrs in their binary form
}

// Reading says which chunks the sender reads from upstream now and no others. It replaces what
// the sender said before.
type Reading struct{ Spans []Span }

// A Span is a row of adjacent chunks, of one at least.
type Span struct{ First, Count blob.ChunkIndex }

func (Hello) message()   {}
func (Have) message()    {}
func (Ask) message()     {}
func (Cancel) message()  {}
func (Chunk) message()   {}
func (Busy) message()    {}
func (Chain) message()   {}
func (Peers) message()   {}
func (Reading) message() {}
