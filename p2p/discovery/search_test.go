package discovery

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/test"
	ma "github.com/multiformats/go-multiaddr"
	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/shoal-project/shoal/p2p"
	"github.com/shoal-project/shoal/p2p/admission"
	"github.com/shoal-project/shoal/pkg/blob"
)

func TestSearchTellsAllWhoListen(t *testing.T) {
	s := newSearch(keyNumber(1), false)
	if !s.join(2) {
		t.Fatal("a new search is over")
	}
	early := make(chan peer.ID, 2)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			p, ok := s.await(t.Context(), i)
			if !ok {
				close(early)
				return
			}
			early <- p.ID
		}
	})
	s.find(peer.AddrInfo{ID: "a"})
	s.find(peer.AddrInfo{ID: "a"})
	if got := <-early; got != "a" {
		t.Errorf("found %q", got)
	}
	if s.satisfied(0) {
		t.Error("one of two is enough")
	}
	if !s.join(3) {
		t.Fatal("it is too late")
	}
	s.find(peer.AddrInfo{ID: "b"})
	if p, ok := s.await(t.Context(), 0); !ok || p.ID != "a" {
		t.Error("who comes later is not told of what was found")
	}
	if s.satisfied(0) {
		t.Error("two are enough for one who asked for three")
	}
	s.find(peer.AddrInfo{ID: "c"})
	if !s.satisfied(0) {
		t.Error("three are not enough")
	}
	s.end()
	wg.Wait()
	if got := []peer.ID{<-early, <-early}; !slices.Equal(got, []peer.ID{"b", "c"}) {
		t.Errorf("then %v", got)
	}
	if s.join(1) {
		t.Error("one can join a search that is over")
	}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, ok := newSearch(keyNumber(1), false).await(cancelled, 0); ok {
		t.Error("found somebody after the end")
	}
}

func TestSearchEndsWhenNobodyListens(t *testing.T) {
	s := newSearch(keyNumber(1), false)
	s.join(2)
	s.join(2)
	if s.leave(); s.satisfied(0) {
		t.Error("the one who still listens is forgotten")
	}
	if s.leave(); !s.satisfied(0) {
		t.Error("it goes on for nobody")
	}
}

// An announcing search goes on to the keepers for its own sake, unless the key is hot.
func TestSearchAnnouncesUnlessCrowded(t *testing.T) {
	s := newSearch(keyNumber(1), true)
	if s.satisfied(keepers) {
		t.Error("it stops before the walk is done")
	}
	for i := range 2 * MaxFound {
		if i == crowded && (s.satisfied(fewKeepers-1) || !s.satisfied(fewKeepers)) {
			t.Error("it does not stop at a crowd when its record is at a few places, or too early")
		}
		s.find(peer.AddrInfo{ID: peer.ID(keyNumber(i).Hex())})
	}
	if len(s.found) != MaxFound {
		t.Errorf("%d were found", len(s.found))
	}
}

// standing is a node whose searches do not run.
func standing(t *testing.T) (n node, begun *[]*search) {
	t.Helper()
	n = start(t, admission.GenerateSecret(), Config{}, p2p.Config{})
	begun = new([]*search)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.begin = func(s *search) { *begun = append(*begun, s) }
	return n, begun
}

// The layers of an image all look for its key: that is one walk.
func TestLooksAtOneTimeShareAWalk(t *testing.T) {
	n, begun := standing(t)
	first, second, other := n.search(keyNumber(1), 5), n.search(keyNumber(1), 9), n.search(keyNumber(2), 5)
	if first != second || first == other || len(*begun) != 2 || first.want != 9 {
		t.Errorf("%d walks for two keys", len(*begun))
	}
	first.end()
	if third := n.search(keyNumber(1), 5); third == first || len(*begun) != 3 {
		t.Error("a look joins a walk that is over")
	}
}

// A key that is to be announced is, by whoever walks there first.
func TestLookAnnouncesOnTheWay(t *testing.T) {
	n, _ := standing(t)
	key := keyNumber(1)
	if n.search(key, 5).announces {
		t.Error("it announces what it does not have")
	}
	n.Provide(keyNumber(2))
	s := n.search(keyNumber(2), 5)
	if !s.announces || n.ledger.claim(keyNumber(2), time.Now()) {
		t.Error("a key that is due is not announced on the way, or twice")
	}
	n.ledger.announced(time.Now(), keyNumber(2))
	s.end()
	if n.search(keyNumber(2), 5).announces {
		t.Error("a key that was announced just now is announced again")
	}
}

// Who announces to this node is found by it, whether its search has begun or not, and though
// it knows nobody to ask.
func TestKeeperKnowsAtOnce(t *testing.T) {
	n := start(t, admission.GenerateSecret(), Config{}, p2p.Config{})
	announce := func() peer.ID {
		t.Helper()
		id := test.RandPeerIDFatal(t)
		if _, err := n.server.reply(time.Now(), id, message(pb.Message_ADD_PROVIDER, hashOf(keyNumber(1)), id)); err != nil {
			t.Fatal(err)
		}
		return id
	}
	before := announce()
	if got := find(t.Context(), n, keyNumber(1), 5); !slices.Equal(got, []peer.ID{before}) {
		t.Errorf("found %v", got)
	}
	n.mu.Lock()
	n.begin = func(*search) {}
	n.mu.Unlock()
	s := n.search(keyNumber(1), 5)
	meanwhile := announce()
	if p, ok := s.await(t.Context(), 0); !ok || p.ID != meanwhile || len(p.Addrs) == 0 {
		t.Errorf("found %v, %v", p, ok)
	}
}

func TestSearchAfterClose(t *testing.T) {
	n := start(t, admission.GenerateSecret(), Config{}, p2p.Config{})
	n.stop()
	if n.search(keyNumber(1), 5) != nil || len(find(t.Context(), n, keyNumber(1), 5)) != 0 {
		t.Error("it looks after Close")
	}
}

// impostor starts a member that is not one of ours: it answers the DHT's questions as told, and
// gives what it was sent, in order. Node n is connected to it.
func impostor(t *testing.T, n node, secret admission.Secret, answer func(*pb.Message) *pb.Message) (peer.ID, <-chan *pb.Message) {
	t.Helper()
	host, err := p2p.New(p2p.Config{Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Secrets: []admission.Secret{secret}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.Close(); err != nil {
			t.Error(err)
		}
	})
	taken := make(chan *pb.Message, 1000)
	host.Host().SetStreamHandler(Protocol, func(stream network.Stream) {
		for in := bufio.NewReader(stream); ; {
			question := new(pb.Message)
			if protodelim.UnmarshalFrom(in, question) != nil {
				_ = stream.Reset()
				return
			}
			taken <- question
			if reply := answer(question); reply != nil {
				_, _ = protodelim.MarshalTo(stream, reply)
			}
		}
	})
	if err := host.Connect(t.Context(), peer.AddrInfo{ID: n.host.ID(), Addrs: n.host.Addrs()}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is a neighbour", func() bool { return n.Neighbours() == 1 })
	return host.ID(), taken
}

// Two that announce and ask at the same peer at the same moment: the later one finds the earlier
// there. The other way round neither might.
func TestRecordIsPlacedBeforeTheQuestion(t *testing.T) {
	secret := admission.GenerateSecret()
	n := start(t, secret, Config{}, p2p.Config{})
	_, taken := impostor(t, n, secret, func(q *pb.Message) *pb.Message {
		if q.GetType() == pb.Message_ADD_PROVIDER {
			return nil
		}
		return message(q.GetType(), q.GetKey())
	})
	n.Provide(keyNumber(1))
	find(t.Context(), n, keyNumber(1), 5)
	var kinds []pb.Message_MessageType
	for len(kinds) < 2 {
		if q := <-taken; bytes.Equal(q.GetKey(), hashOf(keyNumber(1))) {
			kinds = append(kinds, q.GetType())
		}
	}
	if !slices.Equal(kinds, []pb.Message_MessageType{pb.Message_ADD_PROVIDER, pb.Message_GET_PROVIDERS}) {
		t.Errorf("it said %v", kinds)
	}
}

// One liar names some participants and not all, and leads nowhere but to what could be a peer.
func TestOneAnswerIsNotBelievedBlindly(t *testing.T) {
	secret := admission.GenerateSecret()
	n := start(t, secret, Config{}, p2p.Config{})
	lies := message(pb.Message_GET_PROVIDERS, hashOf(keyNumber(1)), n.host.ID())
	for i := range 200 {
		invented := test.RandPeerIDFatal(t)
		lies.ProviderPeers = append(lies.ProviderPeers, message(0, nil, invented, peer.ID(fmt.Sprint("nobody", i))).GetProviderPeers()...)
	}
	_, _ = impostor(t, n, secret, func(q *pb.Message) *pb.Message {
		if q.GetType() != pb.Message_GET_PROVIDERS {
			return message(q.GetType(), q.GetKey())
		}
		return lies
	})
	got := find(t.Context(), n, keyNumber(1), MaxFound)
	if len(got) == 0 || len(got) > maxTaken || slices.Contains(got, n.host.ID()) {
		t.Errorf("of 200 that one peer names %d are believed", len(got))
	}
	for _, id := range got {
		if !validID(id) {
			t.Errorf("it found %q", string(id))
		}
	}
	w := newWalk(placeOf(keyNumber(1)), askers, n.host.ID(), nil)
	n.hear(w, &peer.AddrInfo{ID: "nobody", Addrs: n.host.Addrs()})
	n.hear(w, &peer.AddrInfo{ID: test.RandPeerIDFatal(t)}) // nowhere
	if len(w.way) != 0 {
		t.Errorf("the walk heard of %d that cannot be asked", len(w.way))
	}
}

// However many peers one answer names, the walk goes on to a few.
func TestOneAnswerLeadsToFew(t *testing.T) {
	secret := admission.GenerateSecret()
	n := start(t, secret, Config{}, p2p.Config{})
	away := message(pb.Message_GET_PROVIDERS, hashOf(keyNumber(1)))
	for range 10 * maxCloser {
		nobody := peer.AddrInfo{ID: test.RandPeerIDFatal(t), Addrs: []ma.Multiaddr{ma.StringCast("/ip4/127.0.0.1/tcp/1")}}
		away.CloserPeers = append(away.CloserPeers, wirePeer(nobody))
	}
	liar, _ := impostor(t, n, secret, func(q *pb.Message) *pb.Message {
		if q.GetType() != pb.Message_GET_PROVIDERS {
			return message(q.GetType(), q.GetKey())
		}
		return away
	})
	s := newSearch(keyNumber(1), false)
	s.join(MaxFound)
	w, _ := n.walk(t.Context(), s)
	if w.known[liar] == nil || len(w.way) != 1+maxCloser {
		t.Errorf("of %d that one peer names the walk heard of %d, want %d", 10*maxCloser, len(w.way)-1, maxCloser)
	}
}

// together has each node announce the key and look for it, all at the same moment, and gives
// what each found at the first look.
func together(t *testing.T, nodes []node, key blob.Digest) [][]peer.ID {
	t.Helper()
	found := make([][]peer.ID, len(nodes))
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i, n := range nodes {
		wg.Go(func() {
			<-start
			n.Provide(key)
			found[i] = find(t.Context(), n, key, 40)
		})
	}
	close(start)
	wg.Wait()
	return found
}

// Of two nodes that announce a key and look for it at the same moment one finds the other, at
// the first look.
func TestTwoMeetAtOnce(t *testing.T) {
	nodes := swarm(t, 4, Config{})
	for i := range 100 {
		found := together(t, nodes[1:3], keyNumber(i))
		if len(found[0])+len(found[1]) == 0 {
			t.Fatalf("key %d: neither found the other", i)
		}
	}
}

// Nobody in a crowd stays alone, and after a second look all know each other.
func TestCrowdMeetsAtOnce(t *testing.T) {
	nodes := swarm(t, 14, Config{})
	for i := range 5 {
		key := keyNumber(i)
		found := together(t, nodes, key)
		for j, n := range nodes {
			known := len(found[j]) > 0
			for _, ids := range found {
				known = known || slices.Contains(ids, n.host.ID())
			}
			if !known {
				t.Errorf("node %d found nobody, and nobody it", j)
			}
			if got := find(t.Context(), n, key, 40); len(got) != len(nodes)-1 {
				t.Errorf("node %d knows %d at the second look", j, len(got))
			}
		}
	}
}

// What a node announces can be found at once, though it has announced many others.
func TestFreshKeyGoesFirst(t *testing.T) {
	nodes := swarm(t, 3, Config{})
	for i := range 500 {
		nodes[1].Provide(keyNumber(i))
	}
	fresh := keyNumber(1000)
	nodes[1].Provide(fresh)
	find(t.Context(), nodes[1], fresh, 5)
	if got := find(t.Context(), nodes[2], fresh, 5); !slices.Equal(got, []peer.ID{nodes[1].host.ID()}) {
		t.Errorf("found %v", got)
	}
}
