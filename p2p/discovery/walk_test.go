package discovery

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	kb "github.com/libp2p/go-libp2p-kbucket"
	"github.com/libp2p/go-libp2p/core/peer"
)

// A kademlia is a network at rest: each peer knows twenty others of each distance.
type kademlia struct {
	rng   *rand.Rand
	peers []peer.ID
	table map[peer.ID][]peer.ID
	dead  map[peer.ID]bool
}

func newKademlia(n int, seed uint64) *kademlia {
	k := &kademlia{rng: rand.New(rand.NewPCG(seed, seed)), table: map[peer.ID][]peer.ID{}, dead: map[peer.ID]bool{}}
	places := map[peer.ID]kb.ID{}
	for i := range n {
		id := peer.ID(fmt.Sprintf("peer %d", i))
		k.peers = append(k.peers, id)
		places[id] = kb.ConvertPeerID(id)
	}
	for _, id := range k.peers {
		bucket := map[int]int{}
		for _, i := range k.rng.Perm(n) {
			other := k.peers[i]
			distance := kb.CommonPrefixLen(places[id], places[other])
			if other != id && bucket[distance] < neighboursTold {
				bucket[distance]++
				k.table[id] = append(k.table[id], other)
			}
		}
	}
	return k
}

// nearest are the peers of the list that lie closest to the place.
func nearest(list []peer.ID, place kb.ID, n int) []peer.ID {
	distances := make(map[peer.ID]kb.ID, len(list))
	for _, id := range list {
		distances[id] = kb.Xor(place, kb.ConvertPeerID(id))
	}
	list = slices.SortedFunc(slices.Values(list), func(a, b peer.ID) int { return bytes.Compare(distances[a], distances[b]) })
	return list[:min(n, len(list))]
}

// living are the peers that answer.
func (k *kademlia) living() []peer.ID {
	return slices.DeleteFunc(slices.Clone(k.peers), func(id peer.ID) bool { return k.dead[id] })
}

// run walks from a peer to the end. The answers come in any order. It returns who answered.
func (k *kademlia) run(t *testing.T, w *walk, self peer.ID) (answering []peer.ID) {
	t.Helper()
	var open []peer.ID
	for !w.done() {
		for id, ok := w.next(); ok; id, ok = w.next() {
			open = append(open, id)
		}
		if len(open) == 0 || len(open) > asksAtOnce {
			t.Fatalf("%d asks under way in a walk that is not done", len(open))
		}
		i := k.rng.IntN(len(open))
		id := open[i]
		open = slices.Delete(open, i, i+1)
		if k.dead[id] {
			w.tell(id, failed)
			continue
		}
		w.tell(id, answered)
		answering = append(answering, id)
		for _, closer := range nearest(k.table[id], w.place, maxCloser) {
			w.hear(closer)
		}
	}
	if slices.Contains(answering, self) {
		t.Fatal("a node asks itself")
	}
	return answering
}

func (k *kademlia) walkFrom(self peer.ID, place kb.ID, width int) *walk {
	return newWalk(place, width, self, nearest(k.table[self], place, keepers))
}

func TestWalkFindsTheClosest(t *testing.T) {
	for _, n := range []int{2, 5, 12, 100, 500} {
		k := newKademlia(n, uint64(n))
		asks := 0
		const walks = 50
		for i := range walks {
			self, place := k.peers[k.rng.IntN(n)], placeOf(keyNumber(i))
			others := slices.DeleteFunc(slices.Clone(k.peers), func(id peer.ID) bool { return id == self })
			w := k.walkFrom(self, place, keepers)
			asks += len(k.run(t, w, self))
			if got, want := w.closest(), nearest(others, place, keepers); !slices.Equal(got, want) {
				t.Errorf("of %d peers: found %v, the closest are %v", n, got, want)
			}
		}
		if asks > 2*keepers*walks {
			t.Errorf("of %d peers: %d asks for %d walks", n, asks, walks)
		}
	}
}

func TestWalkPassesTheDead(t *testing.T) {
	k := newKademlia(500, 1)
	for _, id := range k.peers {
		k.dead[id] = k.rng.IntN(5) == 0
	}
	for i := range 50 {
		self, place := k.living()[0], placeOf(keyNumber(i))
		w := k.walkFrom(self, place, keepers)
		k.run(t, w, self)
		want := nearest(slices.DeleteFunc(k.living(), func(id peer.ID) bool { return id == self }), place, keepers)
		// Those who are asked name the dead as well, which hides some of the farther ones.
		if got := w.closest(); len(got) != keepers || !slices.Equal(got[:askers], want[:askers]) {
			t.Errorf("found %v, the closest that live are %v", got, want)
		}
	}
}

// Whoever looks for a key asks some of those that were told, and soon.
func TestWalksMeet(t *testing.T) {
	k := newKademlia(500, 2)
	asks := 0
	const walks = 200
	for i := range walks {
		from, place := k.rng.Perm(len(k.peers)), placeOf(keyNumber(i))
		told := k.run(t, k.walkFrom(k.peers[from[0]], place, keepers), k.peers[from[0]])
		askedOnes := k.run(t, k.walkFrom(k.peers[from[1]], place, askers), k.peers[from[1]])
		asks += len(askedOnes)
		if !slices.ContainsFunc(askedOnes, func(id peer.ID) bool { return slices.Contains(told, id) }) {
			t.Errorf("key %d: nobody who was asked was told", i)
		}
	}
	if asks > 3*askers*walks {
		t.Errorf("%d asks for %d looks", asks, walks)
	}
}

// Peers that always name closer ones lead a walk only so far.
func TestWalkIsBounded(t *testing.T) {
	place := placeOf(keyNumber(1))
	w := newWalk(place, keepers, "self", []peer.ID{"liar"})
	asks, invented := 0, 0
	for !w.done() {
		id, ok := w.next()
		if !ok {
			t.Fatal("a walk that is not done has nobody to ask")
		}
		asks++
		w.tell(id, answered)
		for closer := 0; closer < 3; invented++ {
			id := peer.ID(fmt.Sprintf("invented %d", invented))
			if kb.CommonPrefixLen(place, kb.ConvertPeerID(id)) >= min(asks/8, 10) {
				w.hear(id)
				closer++
			}
		}
	}
	if asks > maxAsks {
		t.Errorf("%d asks", asks)
	}
}

func TestWalkGoesOnWithoutTheSlow(t *testing.T) {
	start := make([]peer.ID, 20)
	for i := range start {
		start[i] = peer.ID(fmt.Sprint(i))
	}
	w := newWalk(placeOf(keyNumber(1)), 3, "self", start)
	ask := func() (ids []peer.ID) {
		for id, ok := w.next(); ok; id, ok = w.next() {
			ids = append(ids, id)
		}
		return ids
	}
	first := ask()
	if len(first) != 3 {
		t.Fatalf("it asks %d, and three have to answer", len(first))
	}
	for _, id := range first {
		w.tell(id, slow)
		w.tell(id, slow) // once is enough
	}
	second := ask()
	if len(second) != 3 || w.done() {
		t.Fatalf("with three slow it asks %d others", len(second))
	}
	for _, id := range second {
		w.tell(id, slow)
	}
	if third := ask(); len(third) != asksInAll-6 {
		t.Errorf("it asks %d more while six are slow", len(third))
	}
	for _, id := range first[:2] {
		w.tell(id, answered)
	}
	w.tell(second[0], answered)
	w.tell(second[1], failed)
	w.tell("nobody", answered)
	if got := w.closest(); !slices.Equal(got, []peer.ID{first[0], first[1], second[0]}) || !w.done() {
		t.Errorf("%v have answered of %v and %v; done: %v", got, first, second, w.done())
	}
	if len(ask()) != 0 {
		t.Error("three of the closest have answered or will, and it asks another")
	}
}
