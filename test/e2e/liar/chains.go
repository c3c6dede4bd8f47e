package liar

import (
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
	"github.com/shoal-project/shoal/pkg/wire"
)

// chainModes claim to have everything, and give everybody a chain before there can be one.
func chainModes() []Mode {
	return []Mode{
		{
			Name: "false-chain", About: "a chain in which every state is wrong", Bound: audited(),
			lie: lie{lies: claims, begin: claimWith(falseChain), hides: possessions, answer: honestly},
		},
		{
			Name: "false-chain-fitting", About: "the chain of another blob, with the chunks that fit it", Bound: audited(),
			lie: lie{lies: claims, begin: claimWith(forgedChain), hides: possessions, answer: forgery},
		},
		{
			Name: "wrong-link", About: "the right chain with one wrong state, in its middle", Bound: audited(),
			lie: lie{lies: claims, begin: claimWith(wrongLink), hides: possessions, answer: honestly},
		},
	}
}

// claimWith says that the liar has the whole blob, and a chain of it.
func claimWith(states func(*known) []chain.State) func(*talk) {
	return func(t *talk) {
		all := wire.Have{Chunks: blob.FullBitset(t.known.geometry.Chunks())}
		if t.say(all, nil) == nil && t.say(wire.Chain{Inner: states(t.known)}, nil) == nil {
			t.note(claims)
		}
	}
}

func trueChain(k *known) []chain.State { return k.chain() }

func falseChain(k *known) []chain.State {
	states := slices.Clone(k.chain())
	for i := range states {
		states[i][0] ^= 1
	}
	return states
}

func forgedChain(k *known) []chain.State { return k.forgedChain() }

func wrongLink(k *known) []chain.State {
	states := slices.Clone(k.chain())
	if len(states) > 0 {
		states[len(states)/2][0] ^= 1
	}
	return states
}

func honestly(t *talk, i blob.ChunkIndex) error { return t.deliver(i, t.known.chunk(i)) }

func forgery(t *talk, i blob.ChunkIndex) error { return t.deliver(i, t.known.forged(i)) }
