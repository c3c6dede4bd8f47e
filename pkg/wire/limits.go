package wire

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
)

// ErrMalformed is wrapped by every error about bytes that are no message, and about messages
// that would be refused at the other end.
var ErrMalformed = errors.New("malformed message")

// Limits of Peers.
const (
	MaxContacts  = 64
	MaxPeerID    = 64  // bytes of a peer ID; one of an Ed25519 key has 38
	MaxAddresses = 8   // per contact
	MaxAddress   = 256 // bytes of a multiaddr
)

// MaxPiece is how many bytes of a chunk follow one header: few, because messages wait for them.
// It is a ninth of the smallest chunk, and with all headers fits the buffers of 32 KiB through
// which multiplexers send it.
const MaxPiece = 57 * blob.KiB / 2

// Piece is the length of the next piece of a chunk of which left bytes are to come.
func Piece(left blob.ByteCount) blob.ByteCount { return min(left, MaxPiece) }

// lastPiece is the length of the last piece of a chunk.
func lastPiece(whole blob.ByteCount) blob.ByteCount {
	if rest := whole % MaxPiece; rest > 0 {
		return rest
	}
	return Piece(whole)
}

// MaxHello is the largest payload of the frame that holds a Hello, the first of a session.
const MaxHello = 2 + (2 + len(blob.Digest{})) + (1 + 6) // 2^38 is a varint of six bytes

const (
	stateSize  = len(chain.State{})
	maxContact = (2 + MaxPeerID) + MaxAddresses*(3+MaxAddress)
	maxPeers   = MaxContacts * (3 + maxContact)
)

// MaxFrame is the largest payload of a frame about a blob of this geometry: some 150 KiB, and
// 2 MiB for the largest blob, whose chain is that long.
func MaxFrame(g blob.Geometry) int {
	body := max(maxPeers,
		1+protowire.SizeBytes(bitsetSize(g)),
		1+protowire.SizeBytes(innerSize(g)))
	return 1 + protowire.SizeBytes(body)
}

// bitsetSize is the number of bytes of a set of the blob's chunks.
func bitsetSize(g blob.Geometry) int { return (int(g.Chunks()) + 7) / 8 }

// innerSize is the number of bytes of the blob's chain without its ends.
func innerSize(g blob.Geometry) int { return int(g.Last()) * stateSize }

// Check reports why m cannot be a message about a blob of this geometry; nil if it can. What
// Decode returns passes it. The geometry does not matter for Hello.
func Check(m Message, g blob.Geometry) error {
	switch m := m.(type) {
	case Hello:
		return checkHello(m)
	case Have:
		if m.Chunks.Len() != g.Chunks() {
			return malformed("have %d chunks where there are %d", m.Chunks.Len(), g.Chunks())
		}
	case Ask:
		return checkIndex(m.Chunk, g)
	case Cancel:
		return checkIndex(m.Chunk, g)
	case Busy:
		return checkIndex(m.Chunk, g)
	case Chunk:
		if err := checkIndex(m.Chunk, g); err != nil {
			return err
		}
		if whole := g.Length(m.Chunk); m.Length != Piece(whole) && m.Length != lastPiece(whole) {
			return malformed("%d bytes of chunk %d, which has %d", m.Length, m.Chunk, whole)
		}
	case Chain:
		if len(m.Inner) != int(g.Last()) {
			return malformed("chain with %d inner states for %d chunks", len(m.Inner), g.Chunks())
		}
	case Peers:
		return checkPeers(m)
	case Reading:
		return checkReading(m, g)
	}
	return nil
}

func checkHello(m Hello) error {
	if m.Blob.IsZero() {
		return malformed("hello without a digest")
	}
	if _, err := blob.NewGeometry(m.Size); err != nil {
		return fmt.Errorf("%w: hello: %w", ErrMalformed, err)
	}
	return nil
}

func checkIndex(i blob.ChunkIndex, g blob.Geometry) error {
	if !g.Valid(i) {
		return malformed("chunk %d of %d", i, g.Chunks())
	}
	return nil
}

func checkPeers(m Peers) error {
	if len(m.Contacts) > MaxContacts {
		return malformed("%d contacts, at most %d", len(m.Contacts), MaxContacts)
	}
	for _, c := range m.Contacts {
		if len(c.Peer) == 0 || len(c.Peer) > MaxPeerID {
			return malformed("peer ID of %d bytes", len(c.Peer))
		}
		if len(c.Addresses) > MaxAddresses {
			return malformed("%d addresses of one peer, at most %d", len(c.Addresses), MaxAddresses)
		}
		for _, a := range c.Addresses {
			if len(a) == 0 || len(a) > MaxAddress {
				return malformed("address of %d bytes", len(a))
			}
		}
	}
	return nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}
