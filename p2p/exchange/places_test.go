package exchange

import (
	"errors"
	"io"
	"testing"

	"github.com/libp2p/go-libp2p/core/host"

	"github.com/shoal-project/shoal/pkg/blob"
)

// However many places some peers have taken, with sessions or with streams that say nothing, another
// gets what it asks for, at the cost of who has the most; and among equals nobody loses any.
func TestAFullExchangeTakesFromTheMost(t *testing.T) {
	const each, fair = 4, 2
	n := newNode(t, Config{Sessions: 2 * each, SessionsPerPeer: each})
	talks, silent := newHost(t), newHost(t)
	for i := range each {
		_ = greeted(t, talks, n, digestOf(byte(i)), testSize)
	}
	streams := make([]*raw, 0, each)
	for range each {
		r := newRaw(t, silent, n, blob.Geometry{})
		r.write([]byte{1}) // of a Hello
		streams = append(streams, r)
	}
	n.untilPlaces(t, silent, each)

	honest := newNode(t, Config{})
	introduce(honest.Host, n.Host)
	for i := range fair { // one more, and it would have what another lacks
		honest.connect(n, digestOf(byte(100+i)), testSize)
	}
	if err := honest.Exchange.Connect(t.Context(), n.ID(), digestOf(200), testSize); !errors.Is(err, ErrTooMany) {
		t.Errorf("more than its part: %v", err)
	}
	n.Exchange.mu.Lock()
	places, has := n.places, len(n.peers[honest.ID()].places)
	n.Exchange.mu.Unlock()
	if places != 2*each || has != fair {
		t.Errorf("%d places are taken, %d of them by the honest peer; want %d and %d", places, has, 2*each, fair)
	}
	if n.count("left", digestOf(0)) != 0 || n.count("left", digestOf(100)) != 0 {
		t.Error("the wrong session was ended")
	}
	if err := n.waitLeft(digestOf(each - 1)); !errors.Is(err, ErrTooMany) {
		t.Errorf("the session that made room ended by %v", err)
	}
	if _, err := io.ReadAll(streams[each-1]); err == nil {
		t.Error("the stream that made room goes on")
	}
}

// untilPlaces waits until the peer has so many places.
func (n *node) untilPlaces(t *testing.T, h host.Host, places int) {
	t.Helper()
	for has := 0; has < places; {
		n.Exchange.mu.Lock()
		if here := n.peers[h.ID()]; here != nil {
			has = len(here.places)
		}
		n.Exchange.mu.Unlock()
	}
}
