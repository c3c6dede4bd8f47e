package discovery

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/shoal-project/shoal/p2p"
)

const (
	knownFile = "peers.json"
	// Bounds of the file, so that what is read back is small whoever wrote it.
	maxKnown      = 64
	maxKnownAddrs = 8
	maxKnownBytes = 256 << 10
)

// knownPeers is the file's content: members that were connected last, for the next start.
type knownPeers struct {
	Peers []knownPeer `json:"peers"`
}

type knownPeer struct {
	ID    string   `json:"id"`
	Addrs []string `json:"addrs"`
}

// loadKnown reads the peers this node knew last. No file is no peers.
func loadKnown(dir string) ([]candidate, error) {
	if dir == "" {
		return nil, nil
	}
	f, err := os.Open(filepath.Join(dir, knownFile)) //nolint:gosec // the operator names the folder
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the known peers: %w", err)
	}
	defer func() { _ = f.Close() }()
	known, err := readKnown(f)
	if err != nil {
		return nil, fmt.Errorf("read the known peers in %s: %w", f.Name(), err)
	}
	return known, nil
}

// readKnown reads the file's content, and no more of it than its bounds.
func readKnown(r io.Reader) ([]candidate, error) {
	var known knownPeers
	if err := json.NewDecoder(io.LimitReader(r, maxKnownBytes)).Decode(&known); err != nil {
		return nil, err
	}
	var out []candidate
	for _, k := range known.Peers[:min(len(known.Peers), maxKnown)] {
		id, err := peer.Decode(k.ID)
		if err != nil {
			continue
		}
		c := candidate{id: id}
		for _, s := range k.Addrs[:min(len(k.Addrs), maxKnownAddrs)] {
			if addr, err := ma.NewMultiaddr(s); err == nil {
				c.addrs = append(c.addrs, addr)
			}
		}
		if len(c.addrs) > 0 {
			out = append(out, c)
		}
	}
	return out, nil
}

// saveKnown keeps the peers for the next start.
func saveKnown(dir string, peers []peer.AddrInfo) error {
	var known knownPeers
	for _, p := range peers[:min(len(peers), maxKnown)] {
		k := knownPeer{ID: p.ID.String()}
		for _, addr := range p.Addrs[:min(len(p.Addrs), maxKnownAddrs)] {
			k.Addrs = append(k.Addrs, addr.String())
		}
		if len(k.Addrs) > 0 {
			known.Peers = append(known.Peers, k)
		}
	}
	if len(known.Peers) == 0 {
		return nil // what was known before is better than nothing
	}
	content, err := json.MarshalIndent(known, "", "  ")
	if err != nil {
		return fmt.Errorf("keep the known peers: %w", err)
	}
	if err := p2p.WriteFile(filepath.Join(dir, knownFile), append(content, '\n')); err != nil {
		return fmt.Errorf("keep the known peers: %w", err)
	}
	return nil
}
