package liar

import (
	"io"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/wire"
)

// A word is one frame of the exchange protocol, with the bytes that follow it where it is
// the header of a piece of a chunk.
type word struct {
	message wire.Message
	bytes   []byte
}

// readWord reads a word about a blob of the geometry, whose zero value is for the first word.
func readWord(r wire.Reader, g blob.Geometry) (word, error) {
	limit := wire.MaxHello
	if g.Size() > 0 {
		limit = wire.MaxFrame(g)
	}
	payload, err := wire.ReadFrame(r, limit, nil)
	if err != nil {
		return word{}, err
	}
	m, err := wire.Decode(payload, g)
	if err != nil {
		return word{}, err
	}
	w := word{message: m}
	if piece, ok := m.(wire.Chunk); ok {
		w.bytes = make([]byte, piece.Length)
		_, err = io.ReadFull(r, w.bytes)
	}
	return w, err
}

// frame is the word as it travels.
func (w word) frame(g blob.Geometry) ([]byte, error) {
	frame, err := wire.Append(nil, w.message, g)
	return append(frame, w.bytes...), err
}
