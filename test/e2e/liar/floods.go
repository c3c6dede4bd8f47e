package liar

import (
	"crypto/rand"
	"math/big"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/shoal-project/shoal/p2p/discovery"
	"github.com/shoal-project/shoal/p2p/exchange"
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/wire"
)

const (
	// manyStreams is how many streams a liar has at one member at most, if it may.
	manyStreams = 4000
	// A flood is floodWords each floodEvery on every session: 2000 a second, which is twice what
	// a node takes. More would only cost this machine, which plays the honest nodes too.
	floodWords, floodEvery = 100, 50 * time.Millisecond
)

// floodModes say too much.
func floodModes() []Mode {
	return []Mode{
		{
			Name: "have-flood", About: "Have without end", Bound: passedOver(),
			lie: lie{lies: claims, begin: haveFlood},
		},
		{
			Name: "peers-flood", About: "Peers without end, 64 that do not exist in each", Bound: passedOver(),
			lie: lie{lies: claims, begin: peersFlood},
		},
		{
			Name: "many-streams", About: "thousands of streams on which nothing is said", Bound: passedOver(),
			lie: lie{lies: claims, visit: openStreams},
		},
	}
}

func haveFlood(t *talk) {
	nothing := wire.Have{Chunks: blob.NewBitset(t.known.geometry.Chunks())}
	t.flood(func() wire.Message { return nothing })
}

func peersFlood(t *talk) {
	near := t.Conn().LocalMultiaddr()
	t.flood(func() wire.Message { return wire.Peers{Contacts: ghosts(near)} })
}

// flood says words until nobody listens any more.
func (t *talk) flood(next func() wire.Message) {
	for !t.over() {
		for range floodWords {
			if t.say(next(), nil) != nil {
				return
			}
			t.note(claims)
		}
		if !t.liar.pause(floodEvery) {
			return
		}
	}
}

// ghosts are peers that do not exist, at addresses of the liar's own network where nobody is.
func ghosts(near ma.Multiaddr) []wire.Contact {
	contacts := make([]wire.Contact, wire.MaxContacts)
	for i := range contacts {
		contacts[i] = wire.Contact{Peer: string(ghost())}
		if addr, err := elsewhere(near); err == nil {
			contacts[i].Addresses = [][]byte{addr.Bytes()}
		}
	}
	return contacts
}

// ghost draws the ID of an Ed25519 key that nobody has: an identity multihash of the key in
// libp2p's encoding (its specification of peer IDs).
func ghost() peer.ID {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return peer.ID(append([]byte{0x00, 36, 0x08, 0x01, 0x12, 32}, key...))
}

// elsewhere draws an address with another last number, from 100 to 199, where a lab has nobody.
func elsewhere(near ma.Multiaddr) (ma.Multiaddr, error) {
	number, err := rand.Int(rand.Reader, big.NewInt(100))
	if err != nil {
		return nil, err
	}
	ip, err := near.ValueForProtocol(ma.P_IP4)
	if err != nil {
		return nil, err
	}
	return addressOf(ip, 100+number.Int64())
}

// openStreams opens streams of both protocols, until it has so many that no more would be let in
// by anybody, and opens again what is closed.
func openStreams(l *Liar, h host.Host, p peer.ID) {
	var streams []network.Stream
	defer func() {
		for _, s := range streams {
			_ = s.Reset() // it was never used
		}
	}()
	for turn := 0; l.ctx.Err() == nil; turn++ {
		if len(streams) >= manyStreams {
			_ = streams[0].Reset() // it was never used
			streams = streams[1:]
		}
		id := exchange.ProtocolID
		if turn%2 == 1 {
			id = discovery.Protocol
		}
		s, err := h.NewStream(l.ctx, p, id)
		if err != nil {
			if !l.pause(10 * time.Millisecond) {
				return
			}
			continue
		}
		l.ledger.note(p, claims)
		streams = append(streams, s)
	}
}
