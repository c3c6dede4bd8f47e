package liar

import (
	"slices"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/wire"
)

// dripBytes go out each second.
const dripBytes = 1 << 10

// slowModes claim to have the blob, and bring nothing of it in time.
func slowModes() []Mode {
	return []Mode{
		{
			Name: "drip", About: "chunks come at 1 KiB/s", Bound: passedOver(),
			lie: lie{lies: answers, begin: claimWith(trueChain), hides: possessions, answer: drip},
		},
		{
			Name: "stall", About: "the first chunk begins, and stands still", Bound: stood(),
			lie: lie{lies: answers, begin: claimWith(trueChain), hides: possessions, answer: stall},
		},
		{
			Name: "drop-last", About: "the session ends before a chunk's last byte", Bound: passedOver(),
			lie: lie{lies: answers, begin: claimWith(trueChain), hides: possessions, answer: dropLast},
		},
		{
			Name: "busy", About: "every ask is answered: busy", Bound: passedOver(),
			lie: lie{lies: answers, begin: claimWith(trueChain), hides: possessions, answer: busy},
		},
		{
			Name: "false-have", About: "it says that it has nearly all, and refuses what it has not", Bound: passedOver(),
			lie: lie{lies: answers, begin: claimMost, refuses: true},
		},
		{
			Name: "false-reading", About: "it says that it reads all, and reads nothing for others", Bound: passedOver(),
			lie: lie{lies: claims, begin: claimReading, hides: plans, answer: busy},
		},
	}
}

// drip holds up every other word as well.
func drip(t *talk, i blob.ChunkIndex) error {
	t.mouth.Lock()
	defer t.mouth.Unlock()
	for piece := range slices.Chunk(t.known.chunk(i), int(wire.MaxPiece)) {
		frame, err := word{wire.Chunk{Chunk: i, Length: blob.ByteCount(len(piece))}, piece}.frame(t.known.geometry)
		if err != nil {
			return err
		}
		for drop := range slices.Chunk(frame, dripBytes) {
			if _, err := t.Stream.Write(drop); err != nil {
				return err
			}
			if t.over() || !t.liar.pause(time.Second) {
				return errLeft
			}
		}
	}
	return nil
}

func stall(t *talk, i blob.ChunkIndex) error {
	first := t.known.chunk(i)[:wire.Piece(t.known.geometry.Length(i))]
	if err := t.say(wire.Chunk{Chunk: i, Length: blob.ByteCount(len(first))}, first); err != nil {
		return err
	}
	return t.silence()
}

func dropLast(t *talk, i blob.ChunkIndex) error {
	var whole []byte
	for piece := range slices.Chunk(t.known.chunk(i), int(wire.MaxPiece)) {
		frame, err := word{wire.Chunk{Chunk: i, Length: blob.ByteCount(len(piece))}, piece}.frame(t.known.geometry)
		if err != nil {
			return err
		}
		whole = append(whole, frame...)
	}
	if err := t.babble(whole[:len(whole)-1]); err != nil {
		return err
	}
	_ = t.Close() // it is over either way
	return errLeft
}

func busy(t *talk, i blob.ChunkIndex) error { return t.say(wire.Busy{Chunk: i}, nil) }

// claimReading says again and again that the liar reads the whole blob.
func claimReading(t *talk) {
	all := []wire.Span{{Count: t.known.geometry.Chunks()}}
	for !t.over() {
		if t.say(wire.Reading{Spans: all}, nil) != nil {
			return
		}
		t.note(claims)
		if !t.liar.pause(time.Second) {
			return
		}
	}
}

// plans are possessions, and what the daemon reads.
func plans(m wire.Message) bool {
	_, reading := m.(wire.Reading)
	return reading || possessions(m)
}
