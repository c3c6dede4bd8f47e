package liar

import (
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/wire"
)

// bytesModes claim to have everything, and send something else.
func bytesModes() []Mode {
	return []Mode{
		{
			Name: "wrong-bytes", About: "every piece of every chunk has a wrong byte", Bound: proven(),
			lie: lie{begin: claimAll, hides: possessions, answer: wrongBytes},
		},
		{
			Name: "misplaced", About: "every chunk is the right bytes of another place", Bound: proven(),
			lie: lie{begin: claimAll, hides: possessions, answer: misplaced},
		},
		{
			Name: "repeat", About: "every chunk comes again and again", Bound: proven(),
			lie: lie{begin: claimAll, hides: possessions, answer: repeat},
		},
	}
}

// claimAll says that the liar has the whole blob.
func claimAll(t *talk) {
	t.liar.told.Add(1)
	_ = t.say(wire.Have{Chunks: blob.FullBitset(t.known.geometry.Chunks())}, nil) // or nobody listens
}

// possessions are the words about what the daemon has, which is less than it is made to claim.
func possessions(m wire.Message) bool {
	switch m.(type) { //nolint:gochecksumtype // all others are plans and answers
	case wire.Have, wire.Chain:
		return true
	}
	return false
}

// send sends bytes as chunk i.
func (t *talk) send(i blob.ChunkIndex, bytes []byte) error {
	for piece := range slices.Chunk(bytes, int(wire.MaxPiece)) {
		if t.over() {
			return errLeft
		}
		if err := t.say(wire.Chunk{Chunk: i, Length: blob.ByteCount(len(piece))}, piece); err != nil {
			return err
		}
	}
	return nil
}

func wrongBytes(t *talk, i blob.ChunkIndex) error {
	bytes := slices.Clone(t.known.chunk(i))
	for at := 0; at < len(bytes); at += int(wire.MaxPiece) {
		bytes[at] ^= 1
	}
	return t.send(i, bytes)
}

// misplaced sends the next chunk; of the last two, which may have different lengths, as much
// as fits.
func misplaced(t *talk, i blob.ChunkIndex) error {
	bytes := slices.Clone(t.known.chunk(i))
	copy(bytes, t.known.chunk((i+1)%t.known.geometry.Chunks()))
	return t.send(i, bytes)
}

func repeat(t *talk, i blob.ChunkIndex) error {
	for {
		if err := t.send(i, t.known.chunk(i)); err != nil {
			return err
		}
	}
}
