package liar

import (
	"bufio"
	"crypto/rand"
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
)

// directoryModes lie in the DHT.
func directoryModes() []Mode {
	return []Mode{
		{
			Name: "provider-flood", About: "announces to everybody that it has every blob there could be", Bound: passedOver(),
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

// announceAll places records of keys that nobody knows, as fast as they are taken.
func announceAll(l *Liar, h host.Host, p peer.ID) {
	for l.ctx.Err() == nil {
		s, err := h.NewStream(l.ctx, p, discovery.Protocol)
		if err != nil {
			if !l.pause(lookEvery) {
				return
			}
			continue
		}
		for err == nil && l.ctx.Err() == nil {
			if err = announceOne(h, s); err == nil {
				l.ledger.note(p, claims)
			}
		}
		_ = s.Reset() // nothing is waited for
	}
}

func announceOne(h host.Host, s network.Stream) error {
	content := make([]byte, 32)
	_, _ = rand.Read(content) // never fails
	key, err := multihash.Encode(content, multihash.SHA2_256)
	if err != nil {
		return err
	}
	message := pb.NewMessage(pb.Message_ADD_PROVIDER, key, 0)
	message.ProviderPeers = []*pb.Message_Peer{myself(h)}
	_, err = protodelim.MarshalTo(s, message)
	return err
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
