package discovery

import (
	"bytes"
	"testing"
)

// Whatever lies in the file of known peers, few come of it, each with few addresses.
func FuzzKnown(f *testing.F) {
	for _, content := range []string{
		"", "{}", "[]", `{"peers":null}`, `{"peers":[{"id":"` + somePeer + `","addrs":["/ip4/1.2.3.4/tcp/5","x"]},{"id":"x"}]}`,
	} {
		f.Add([]byte(content))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		peers, err := readKnown(bytes.NewReader(content))
		if err != nil && len(peers) > 0 || len(peers) > maxKnown {
			t.Fatalf("%d peers, %v", len(peers), err)
		}
		for _, p := range peers {
			if p.id.Validate() != nil || len(p.addrs) == 0 || len(p.addrs) > maxKnownAddrs {
				t.Fatalf("%+v", p)
			}
		}
	})
}
