package liar

import (
	"bytes"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/shoal-project/shoal/pkg/wire"
)

// wordModes break the exchange protocol.
func wordModes() []Mode {
	return []Mode{
		{
			Name: "oversized", About: "a frame that says it has 128 MiB", Bound: proven(),
			lie: lie{lies: claims, begin: babbles(protowire.AppendVarint(nil, 128<<20))},
		},
		{
			Name: "malformed", About: "a frame that holds no message", Bound: proven(),
			lie: lie{lies: claims, begin: babbles(append([]byte{64}, bytes.Repeat([]byte{0xff}, 64)...))},
		},
		{
			Name: "wrong-size", About: "a blob size that is not the manifest's", Bound: proven(),
			lie: lie{lies: claims, hello: anotherSize},
		},
	}
}

// babbles says bytes that are no word.
func babbles(p []byte) func(*talk) {
	return func(t *talk) {
		if t.babble(p) == nil {
			t.note(claims)
		}
	}
}

func anotherSize(m wire.Hello) wire.Hello {
	m.Size++
	return m
}
