package p2p

import (
	"errors"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"
)

// Whatever lies in the file of the identity, it is a key that is the same when it is written again, or it
// is refused.
func FuzzIdentity(f *testing.F) {
	key, _, err := crypto.GenerateEd25519Key(nil)
	if err != nil {
		f.Fatal(err)
	}
	raw, err := crypto.MarshalPrivateKey(key)
	if err != nil {
		f.Fatal(err)
	}
	for _, content := range [][]byte{nil, raw, raw[:len(raw)-1], append(raw, 0), {8, 1, 18, 0}} {
		f.Add(content)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		key, err := parseIdentity(content)
		if err != nil {
			if !errors.Is(err, errIdentity) {
				t.Fatal(err)
			}
			return
		}
		raw, err := crypto.MarshalPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parseIdentity(raw); err != nil || !again.Equals(key) {
			t.Fatalf("another key, %v", err)
		}
	})
}
