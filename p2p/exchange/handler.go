package exchange

import (
	"context"
	"io"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/wire"
)

// A Handler learns what happens in sessions. Calls about one session come one after the other,
// from Joined to Left, but for Received, which also comes from inside a read of a chunk's body;
// those about different sessions come at the same time. A call that blocks holds up its own
// session alone, and in the end the peer.
type Handler interface {
	// Accept says whether a peer may open a session about the blob, of which it claims the
	// size. An error refuses it. ctx ends when the peer will no longer wait.
	Accept(ctx context.Context, p peer.ID, d blob.Digest, size blob.ByteCount) error
	// Joined reports a session that is open, whoever opened it.
	Joined(p peer.ID, d blob.Digest)
	// Received reports a message: Have, Ask, Cancel, Busy, Chain, Peers or Reading. It is within the
	// limits of pkg/wire, and a Busy or a Cancel is about an ask that is still open.
	Received(p peer.ID, d blob.Digest, m wire.Message)
	// Chunk takes a chunk that was asked for, if only before a Cancel. body yields exactly its
	// length in bytes, or an error if the session ends before. It is valid until Chunk
	// returns. What is left unread is thrown away; an error ends the session.
	Chunk(p peer.ID, d blob.Digest, i blob.ChunkIndex, body io.Reader) error
	// Left reports that the session is over: once for each Joined, and nothing comes after it.
	// err is nil if this node ended it, and a *ViolationError if the peer broke the protocol.
	Left(p peer.ID, d blob.Digest, err error)
}
