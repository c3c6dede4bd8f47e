package discovery

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/test"
	ma "github.com/multiformats/go-multiaddr"
)

func TestKnownPeers(t *testing.T) {
	dir := t.TempDir()
	if got, err := loadKnown(dir); len(got) != 0 || err != nil {
		t.Errorf("no file: %v, %v", got, err)
	}
	peers := make([]peer.AddrInfo, 0, 2*maxKnown)
	for i := range 2 * maxKnown {
		id := test.RandPeerIDFatal(t)
		info := peer.AddrInfo{ID: id}
		for port := range 2 * maxKnownAddrs {
			info.Addrs = append(info.Addrs, ma.StringCast(fmt.Sprintf("/ip4/10.0.0.%d/tcp/%d", i, port+1)))
		}
		peers = append(peers, info)
	}
	if err := saveKnown(dir, peers); err != nil {
		t.Fatal(err)
	}
	got, err := loadKnown(dir)
	if err != nil || len(got) != maxKnown || len(got[0].addrs) != maxKnownAddrs || got[0].id != peers[0].ID {
		t.Fatalf("%d peers, %v", len(got), err)
	}
	// A node that knows nobody keeps what it had.
	if err := saveKnown(dir, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := loadKnown(dir); len(got) != maxKnown || err != nil {
		t.Errorf("%d peers, %v", len(got), err)
	}
}

func TestKnownPeersMalformed(t *testing.T) {
	dir := t.TempDir()
	for content, want := range map[string]int{
		"": -1, "x": -1, "[]": -1, "{}": 0, `{"peers":[{"id":"x","addrs":["/ip4/1.2.3.4/tcp/5"]}]}`: 0,
		`{"peers":[{"id":"` + somePeer + `","addrs":["nonsense"]},{"id":"` + somePeer + `","addrs":["/ip4/1.2.3.4/tcp/5","x"]}]}`: 1,
		`{"peers":[` + strings.Repeat(" ", maxKnownBytes) + "]}":                                                                  -1,
	} {
		if err := os.WriteFile(filepath.Join(dir, knownFile), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := loadKnown(dir)
		if (err != nil) != (want < 0) || len(got) != max(want, 0) {
			t.Errorf("%.40q: %d peers, %v", content, len(got), err)
		}
	}
}
