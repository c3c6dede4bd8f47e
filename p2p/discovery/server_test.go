package discovery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	dht "github.com/libp2p/go-libp2p-kad-dht"
	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/test"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"
	"golang.org/x/time/rate"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/proto"

	"github.com/shoal-project/shoal/p2p"
	"github.com/shoal-project/shoal/p2p/admission"
)

// message is a question with a record of that peer in it, if it has an ID.
func message(kind pb.Message_MessageType, key []byte, of ...peer.ID) *pb.Message {
	m := pb.NewMessage(kind, key, 0)
	for _, id := range of {
		m.ProviderPeers = append(m.ProviderPeers, wirePeer(peer.AddrInfo{ID: id, Addrs: []ma.Multiaddr{ma.StringCast("/ip4/10.0.0.1/tcp/6051")}}))
	}
	return m
}

func TestReplyRefuses(t *testing.T) {
	n := start(t, admission.GenerateSecret(), Config{}, p2p.Config{})
	me, other := test.RandPeerIDFatal(t), test.RandPeerIDFatal(t)
	key := hashOf(keyNumber(1))
	lost := message(pb.Message_ADD_PROVIDER, key, me)
	lost.ProviderPeers[0].Addrs = nil
	named := message(pb.Message_ADD_PROVIDER, key, me)
	named.ProviderPeers[0].Addrs = [][]byte{ma.StringCast("/dns4/victim.example/tcp/80").Bytes(), {1, 2, 3}}
	for what, bad := range map[string]*pb.Message{
		"an unknown kind":          message(99, key),
		"a value":                  message(pb.Message_PUT_VALUE, key),
		"no key":                   message(pb.Message_FIND_NODE, nil),
		"a long key":               message(pb.Message_FIND_NODE, make([]byte, maxKey+1)),
		"a key that is no digest":  message(pb.Message_GET_PROVIDERS, []byte(me)[:20]),
		"another hash":             message(pb.Message_ADD_PROVIDER, append([]byte{0x13, 0x20}, key[2:]...), me),
		"nobody's record":          message(pb.Message_ADD_PROVIDER, key),
		"somebody else's record":   message(pb.Message_ADD_PROVIDER, key, other),
		"two records":              message(pb.Message_ADD_PROVIDER, key, me, me),
		"a record without address": lost,
		"a record with a name":     named,
	} {
		if reply, err := n.server.reply(noon, me, bad); err == nil {
			t.Errorf("%s is answered: %v", what, reply)
		}
	}
	if n.server.records.len() != 0 {
		t.Error("something was kept")
	}
}

func TestReplyTellsParticipants(t *testing.T) {
	n := start(t, admission.GenerateSecret(), Config{}, p2p.Config{})
	key := keyNumber(1)
	ids := make([]peer.ID, 2*maxTaken)
	for i := range ids {
		ids[i] = test.RandPeerIDFatal(t)
		if _, err := n.server.reply(noon, ids[i], message(pb.Message_ADD_PROVIDER, hashOf(key), ids[i])); err != nil {
			t.Fatal(err)
		}
	}
	ask := func() []string {
		t.Helper()
		reply, err := n.server.reply(noon, ids[0], message(pb.Message_GET_PROVIDERS, hashOf(key)))
		if err != nil {
			t.Fatal(err)
		}
		if size := proto.Size(reply); size > 4<<10 {
			t.Errorf("an answer of %d bytes", size)
		}
		return idsOf(reply.GetProviderPeers())
	}
	if got := ask(); len(got) != maxTaken || slices.Contains(got, string(ids[0])) {
		t.Errorf("told of %d, the one who asks among them or not", len(got))
	}
	n.Provide(key)
	if got := ask(); len(got) != maxTaken || !slices.Contains(got, string(n.host.ID())) {
		t.Error("a node that takes part does not say so")
	}
	n.Withdraw(key)
	if got := ask(); slices.Contains(got, string(n.host.ID())) {
		t.Error("a node that withdrew says it takes part")
	}
}

func TestReplyTellsNeighbours(t *testing.T) {
	nodes := swarm(t, 3, Config{})
	a, b, c := nodes[0], nodes[1].host.ID(), nodes[2].host.ID()
	eventually(t, "it knows both", func() bool { return a.Neighbours() == 2 })
	for _, kind := range []pb.Message_MessageType{pb.Message_FIND_NODE, pb.Message_GET_PROVIDERS} {
		reply, err := a.server.reply(noon, b, message(kind, hashOf(keyNumber(1))))
		if err != nil || !slices.Equal(idsOf(reply.GetCloserPeers()), []string{string(c)}) || len(reply.GetCloserPeers()[0].Addresses()) == 0 {
			t.Errorf("%v: %v, %v", kind, reply, err)
		}
	}
	// The one that is looked for is named first, even to itself.
	for _, target := range []peer.ID{a.host.ID(), b, c} {
		reply, err := a.server.reply(noon, b, message(pb.Message_FIND_NODE, []byte(target)))
		if err != nil || len(reply.GetCloserPeers()) == 0 || string(reply.GetCloserPeers()[0].GetId()) != string(target) {
			t.Errorf("%v, %v", reply, err)
		}
	}
	if _, err := a.server.reply(noon, b, message(pb.Message_PING, nil)); err != nil {
		t.Error(err)
	}
}

// dial opens a stream from one node to another's server.
func dial(t *testing.T, from, to node) network.Stream {
	t.Helper()
	if err := from.host.Connect(t.Context(), peer.AddrInfo{ID: to.host.ID(), Addrs: to.host.Addrs()}); err != nil {
		t.Fatal(err)
	}
	stream, err := from.host.Host().NewStream(t.Context(), to.host.ID(), Protocol)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return stream
}

func TestServerAnswersInOrderAndEndsWithTheStream(t *testing.T) {
	nodes := swarm(t, 2, Config{})
	stream := dial(t, nodes[1], nodes[0])
	var questions bytes.Buffer
	for i := range 3 {
		_, _ = protodelim.MarshalTo(&questions, message(pb.Message_GET_PROVIDERS, hashOf(keyNumber(i))))
	}
	if _, err := stream.Write(questions.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := stream.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(stream)
	if err != nil {
		t.Fatal(err)
	}
	for i, in := 0, bytes.NewReader(all); i < 3; i++ {
		reply := new(pb.Message)
		if err := protodelim.UnmarshalFrom(in, reply); err != nil || !bytes.Equal(reply.GetKey(), hashOf(keyNumber(i))) {
			t.Errorf("answer %d: %v, %v", i, reply, err)
		}
	}
}

func TestServerClosesOnNonsense(t *testing.T) {
	nodes := swarm(t, 2, Config{})
	var refused bytes.Buffer
	_, _ = protodelim.MarshalTo(&refused, message(pb.Message_ADD_PROVIDER, hashOf(keyNumber(1)), nodes[0].host.ID()))
	for what, nonsense := range map[string][]byte{
		"a long message":    {0xff, 0xff, 0xff, 0x7f},
		"no message":        {3, 0xff, 0xff, 0xff},
		"a refused message": refused.Bytes(),
	} {
		stream := dial(t, nodes[1], nodes[0])
		if _, err := stream.Write(nonsense); err != nil {
			t.Fatal(err)
		}
		if n, err := stream.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: read %d, %v", what, n, err)
		}
	}
}

// Who asks without end waits, on all its streams together.
func TestServerKeepsPeersToTheirRate(t *testing.T) {
	n := start(t, admission.GenerateSecret(), Config{}, p2p.Config{})
	greedy, other := n.server.enter("greedy"), n.server.enter("other")
	defer n.server.leave("greedy")
	defer n.server.leave("other")
	if n.server.enter("greedy") != greedy || other == greedy {
		t.Error("a peer's streams do not share its rate, or peers do")
	}
	n.server.leave("greedy")
	if !greedy.AllowN(noon, messageBurst) || greedy.AllowN(noon, 1) || !greedy.AllowN(noon.Add(time.Second), messageRate) {
		t.Error("the rate is another")
	}
	if !other.AllowN(noon, 1) {
		t.Error("one peer's greed is another's loss")
	}
}

// A peer has so many streams, and more once it closes some; others have theirs.
func TestServerCountsStreams(t *testing.T) {
	nodes := swarm(t, 3, Config{})
	server, from := nodes[0].server, nodes[1].host.ID()
	counted := func() int {
		server.mu.Lock()
		defer server.mu.Unlock()
		return server.open[from]
	}
	ask := func(stream network.Stream) error {
		if _, err := protodelim.MarshalTo(stream, message(pb.Message_PING, nil)); err != nil {
			return err
		}
		_, err := stream.Read(make([]byte, 1))
		return err
	}
	var streams []network.Stream
	for counted() < streamsPerPeer { // the library has one already, or not
		stream := dial(t, nodes[1], nodes[0])
		if err := ask(stream); err != nil {
			t.Fatal(err)
		}
		streams = append(streams, stream)
	}
	if err := ask(dial(t, nodes[1], nodes[0])); err == nil {
		t.Error("one more stream is served")
	}
	if err := ask(dial(t, nodes[2], nodes[0])); err != nil {
		t.Errorf("another peer: %v", err)
	}
	for _, stream := range streams {
		_ = stream.Reset()
	}
	eventually(t, "the streams are over", func() bool { return counted() <= 1 })
	if err := ask(dial(t, nodes[1], nodes[0])); err != nil {
		t.Errorf("after its other streams: %v", err)
	}
}

func TestServerCountsMessages(t *testing.T) {
	nodes := swarm(t, 2, Config{})
	server := nodes[0].server
	server.mu.Lock()
	server.askers.Add(nodes[1].host.ID(), rate.NewLimiter(0, 0)) // may ask nothing, ever
	server.mu.Unlock()
	stream := dial(t, nodes[1], nodes[0])
	if _, err := protodelim.MarshalTo(stream, message(pb.Message_PING, nil)); err != nil {
		t.Fatal(err)
	}
	if n, err := stream.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a message of one who may ask nothing: %d bytes, %v", n, err)
	}
}

func TestWhatOthersClaim(t *testing.T) {
	long, err := multihash.Encode(make([]byte, maxID), multihash.IDENTITY)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[peer.ID]bool{test.RandPeerIDFatal(t): true, "": false, "nobody": false, peer.ID(long): false} {
		if validID(id) != want {
			t.Errorf("%q is a peer's ID: %v", string(id), !want)
		}
	}
	claimed := []ma.Multiaddr{
		ma.StringCast("/dns4/victim.example/tcp/80"), ma.StringCast("/ip4/10.0.0.1/udp/6051"), ma.StringCast("/ip4/0.0.0.0/tcp/6051"),
		ma.StringCast("/ip6/fe80::1/tcp/6051"), ma.StringCast("/ip4/10.0.0.1/tcp/6051/ws"), ma.StringCast("/unix/tmp"),
	}
	if got := dialable(claimed); len(got) != 0 {
		t.Errorf("it would dial %v", got)
	}
	claimed = slices.Grow(claimed, 4*maxAddrs)
	for port := range 2 * maxAddrs {
		claimed = append(claimed, ma.StringCast(fmt.Sprintf("/ip4/10.0.0.1/tcp/%d", port+1)), ma.StringCast("/ip6/fd00::1/tcp/1"))
	}
	if got := dialable(claimed); len(got) != maxAddrs || !got[0].Equal(ma.StringCast("/ip4/10.0.0.1/tcp/1")) {
		t.Errorf("of many addresses it keeps %v", got)
	}
}

// A node whose server is the library's understands this one, and the other way round.
func TestLibraryIsUnderstood(t *testing.T) {
	secret := admission.GenerateSecret()
	a := start(t, secret, Config{}, p2p.Config{})
	b := start(t, secret, Config{Bootstrap: []string{a.hostPort(t)}}, p2p.Config{})
	host, err := p2p.New(p2p.Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Secrets: []admission.Secret{secret}})
	if err != nil {
		t.Fatal(err)
	}
	old, err := dht.New(host.Host(), dht.Mode(dht.ModeServer), dht.ProtocolPrefix(Prefix), dht.DisableValues())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := old.Close(); err != nil {
			t.Error(err)
		}
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := host.Connect(t.Context(), peer.AddrInfo{ID: a.host.ID(), Addrs: a.host.Addrs()}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "they know each other", func() bool {
		return old.RoutingTable().Size() > 0 && a.Neighbours() == 2 && b.Neighbours() > 0
	})
	theirs, ours := keyNumber(1), keyNumber(2)
	if err := old.Provide(t.Context(), cid.NewCidV1(cid.Raw, hashOf(theirs)), true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what it announces is found", func() bool {
		return slices.Equal(find(t.Context(), b, theirs, 5), []peer.ID{host.ID()})
	})
	b.Provide(ours)
	eventually(t, "it finds what is announced", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		for found := range old.FindProvidersAsync(ctx, cid.NewCidV1(cid.Raw, hashOf(ours)), 1) {
			return found.ID == b.host.ID()
		}
		return false
	})
}

// Whatever arrives, the answer is small and in order, or there is none.
func FuzzReply(f *testing.F) {
	host, err := p2p.New(p2p.Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Secrets: []admission.Secret{admission.GenerateSecret()}})
	if err != nil {
		f.Fatal(err)
	}
	d, err := New(Config{Host: host})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := d.Close(); err != nil {
			f.Error(err)
		}
		if err := host.Close(); err != nil {
			f.Error(err)
		}
	})
	from := host.ID()
	for kind := range pb.Message_MessageType(7) {
		m, err := proto.Marshal(message(kind, hashOf(keyNumber(1)), from))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(m)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		question := new(pb.Message)
		if proto.Unmarshal(raw, question) != nil {
			return
		}
		reply, err := d.server.reply(noon, from, question)
		if err != nil {
			if reply != nil {
				t.Error("an answer and an error")
			}
			return
		}
		if size := proto.Size(reply); size > 8<<10 {
			t.Errorf("an answer of %d bytes", size)
		}
		if reply != nil && reply.GetType() != question.GetType() {
			t.Errorf("%s is answered by %s", question.GetType(), reply.GetType())
		}
	})
}
