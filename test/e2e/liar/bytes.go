package liar

import (
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/wire"
)

// bytesModes claim to have the blob, and send something else.
func bytesModes() []Mode {
	return []Mode{
		{
			Name: "wrong-bytes", About: "every piece of every chunk has a wrong byte", Bound: proven(),
			lie: lie{lies: chunks, begin: claimMost, hides: possessions, answer: wrongBytes},
		},
		{
			Name: "wrong-bytes-chained", About: "the same, beside the right chain", Bound: refused(),
			lie: lie{lies: chunks, begin: claimWith(trueChain), hides: possessions, answer: wrongBytes},
		},
		{
			Name: "misplaced", About: "every chunk is the right bytes of another place", Bound: proven(),
			lie: lie{lies: chunks, begin: claimMost, hides: possessions, answer: misplaced},
		},
		{
			Name: "repeat", About: "every chunk comes again and again", Bound: proven(),
			lie: lie{lies: chunks, begin: claimMost, hides: possessions, answer: repeat},
		},
	}
}

// claimMost says that the liar has the blob but for its first chunk. Whoever has a whole blob has its
// chain, too, and is not believed without; one that is nearly done looks like this.
func claimMost(t *talk) {
	most := blob.FullBitset(t.known.geometry.Chunks())
	most.Remove(0)
	if t.say(wire.Have{Chunks: most}, nil) == nil {
		t.note(claims)
	}
}

// possessions are the words about what the daemon has, which is something else than it is made to claim.
func possessions(m wire.Message) bool {
	switch m.(type) { //nolint:gochecksumtype // all others are plans and answers
	case wire.Have, wire.Chain:
		return true
	}
	return false
}

// deliver sends bytes as chunk i, and counts them if they were waited for to the end.
func (t *talk) deliver(i blob.ChunkIndex, bytes []byte) error {
	if err := t.send(i, bytes); err != nil {
		return err
	}
	if t.awaited(i) {
		t.note(chunks)
	}
	return nil
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
	return t.deliver(i, bytes)
}

// misplaced sends the next chunk; of the last two, which may have different lengths, as much
// as fits.
func misplaced(t *talk, i blob.ChunkIndex) error {
	bytes := slices.Clone(t.known.chunk(i))
	copy(bytes, t.known.chunk((i+1)%t.known.geometry.Chunks()))
	return t.deliver(i, bytes)
}

// repeat begins anew as soon as a chunk is whole: each that gets there is followed by a lie.
func repeat(t *talk, i blob.ChunkIndex) error {
	for {
		if err := t.deliver(i, t.known.chunk(i)); err != nil {
			return err
		}
	}
}
