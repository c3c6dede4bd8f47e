package liar

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"
	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/shoal-project/shoal/p2p/discovery"
	"github.com/shoal-project/shoal/pkg/blob"
)

// directoryModes lie in the DHT.
func directoryModes() []Mode {
	return []Mode{
		{
			Name: "provider-flood", About: "announces that it, and peers that do not exist, have every blob there is and could be", Bound: passedOver(),
			lie: lie{lies: claims, visit: announceAll},
		},
		{
			Name: "self-dht", About: "whatever is looked for in the DHT, it names itself", Bound: passedOver(),
			lie: lie{lies: answers, directory: nameSelf},
		},
	}
}

// addressOf is the address of a member on the network of ip.
func addressOf(ip string, last int64) (ma.Multiaddr, error) {
	return ma.NewMultiaddr(fmt.Sprintf("/ip4/%s.%d/tcp/6051", ip[:strings.LastIndexByte(ip, '.')], last))
}

// announceAll places records as fast as they are taken: of every blob that the registry has, by peers that
// do not exist and by the liar, and then of keys that nobody knows, by the liar.
func announceAll(l *Liar, h host.Host, p peer.ID) {
	for l.ctx.Err() == nil {
		known := l.truth.digests()
		for _, key := range known {
			// Each on a stream of its own: who announces others is not listened to any more.
			_ = l.announce(h, p, func(a *announcer) error { return a.announce(key, aGhost(a.Conn().LocalMultiaddr())) })
		}
		err := l.announce(h, p, func(a *announcer) (err error) {
			self := myself(h)
			for _, key := range known {
				err = errors.Join(err, a.announce(key, self))
			}
			for err == nil && l.ctx.Err() == nil {
				err = a.announce(anyKey(), self)
			}
			return err
		})
		if err != nil && !l.pause(lookEvery) {
			return
		}
	}
}

// An announcer is a stream of the DHT's to a peer.
type announcer struct {
	network.Stream
	liar *Liar
	peer peer.ID
}

// announce opens a stream, on which all is said that say says; no answer is waited for.
func (l *Liar) announce(h host.Host, p peer.ID, say func(*announcer) error) error {
	s, err := h.NewStream(l.ctx, p, discovery.Protocol)
	if err != nil {
		return err
	}
	err = say(&announcer{Stream: s, liar: l, peer: p})
	if err != nil {
		_ = s.Reset() // it is broken already
		return err
	}
	return s.Close()
}

// announce says that a peer takes part in the swarm of a blob.
func (a *announcer) announce(key blob.Digest, participant *pb.Message_Peer) error {
	hash, err := multihash.Encode(key[:], multihash.SHA2_256)
	if err != nil {
		return err
	}
	message := pb.NewMessage(pb.Message_ADD_PROVIDER, hash, 0)
	message.ProviderPeers = []*pb.Message_Peer{participant}
	if _, err = protodelim.MarshalTo(a, message); err == nil {
		a.liar.ledger.note(a.peer, claims)
	}
	return err
}

// anyKey draws a digest of nothing.
func anyKey() (key blob.Digest) {
	_, _ = rand.Read(key[:]) // never fails
	return key
}

// aGhost is a peer that does not exist, at an address where nobody is.
func aGhost(near ma.Multiaddr) *pb.Message_Peer {
	p := &pb.Message_Peer{Id: []byte(ghost())}
	if addr, err := elsewhere(near); err == nil {
		p.Addrs = [][]byte{addr.Bytes()}
	}
	return p
}

// nameSelf answers questions of the DHT until the other side is done.
func nameSelf(l *Liar, h host.Host, s network.Stream) {
	defer func() { _ = s.Reset() }() // whoever still asks is not answered
	in := bufio.NewReader(s)
	for {
		question := new(pb.Message)
		if err := protodelim.UnmarshalFrom(in, question); err != nil {
			return
		}
		if question.GetType() == pb.Message_ADD_PROVIDER {
			continue // it is not kept
		}
		reply := pb.NewMessage(question.GetType(), question.GetKey(), 0)
		reply.CloserPeers = []*pb.Message_Peer{myself(h)}
		reply.ProviderPeers = reply.CloserPeers
		if _, err := protodelim.MarshalTo(s, reply); err != nil {
			return
		}
		l.ledger.note(s.Conn().RemotePeer(), answers)
	}
}

// myself is how the liar is named.
func myself(h host.Host) *pb.Message_Peer {
	p := &pb.Message_Peer{Id: []byte(h.ID())}
	for _, addr := range h.Addrs() {
		p.Addrs = append(p.Addrs, addr.Bytes())
	}
	return p
}
