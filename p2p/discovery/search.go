package discovery

import (
	"context"
	"errors"
	"sync"
	"time"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"

	"github.com/shoal-project/shoal/pkg/blob"
)

const (
	// keepers is how many peers keep a record: those closest to its key.
	keepers = 10
	// askers is how many of them have to answer before a key counts as known to nobody. Some
	// of the closest peers to a key kept by ten are among its five closest to anybody.
	askers = 5
	// askTimeout bounds an ask. It goes on when the search is over: to break it off would cost
	// the stream that it uses.
	askTimeout = 5 * time.Second
	// crowded is so many participants that nobody misses one more record, once this node's is
	// at a few places.
	crowded, fewKeepers = 40, 3
	// maxTaken is how many participants are believed from one answer: less than what anybody
	// looks for, so that one liar cannot name them all.
	maxTaken = 20
)

// A search is one walk towards a key, which all on this node share who look for the key
// meanwhile. An announcing search also places this node's record wherever it asks: who
// announces and asks the same peer at the same moment as another does either finds that
// other there or is found.
type search struct {
	key       blob.Digest
	announces bool

	mu        sync.Mutex
	found     []peer.AddrInfo
	seen      map[peer.ID]bool
	want      int // the most that any listener asked for
	listeners int
	over      bool
	news      chan struct{} // closed when found or over changes, and made anew
}

func newSearch(key blob.Digest, announces bool) *search {
	return &search{key: key, announces: announces, seen: map[peer.ID]bool{}, news: make(chan struct{})}
}

// join makes the caller a listener, who leaves in the end. It is too late when the search is over.
func (s *search) join(want int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false
	}
	s.want = max(s.want, want)
	s.listeners++
	return true
}

func (s *search) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners--
}

// find takes a participant, unless it is known already.
func (s *search) find(p peer.AddrInfo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen[p.ID] || len(s.found) >= MaxFound {
		return
	}
	s.seen[p.ID] = true
	s.found = append(s.found, p)
	s.tell()
}

func (s *search) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.tell()
}

// tell is called with the lock held.
func (s *search) tell() {
	close(s.news)
	s.news = make(chan struct{})
}

// await returns participant number i as soon as there is one, or false if there will not be.
func (s *search) await(ctx context.Context, i int) (peer.AddrInfo, bool) {
	for {
		s.mu.Lock()
		found, over, news := s.found, s.over, s.news
		s.mu.Unlock()
		switch {
		case i < len(found):
			return found[i], true
		case over:
			return peer.AddrInfo{}, false
		}
		select {
		case <-ctx.Done():
			return peer.AddrInfo{}, false
		case <-news:
		}
	}
}

// satisfied reports whether the walk need not go on: whoever listens has enough, and this
// node's record is at that many keepers.
func (s *search) satisfied(placed int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.announces {
		return placed >= fewKeepers && len(s.found) >= max(crowded, s.want)
	}
	return s.listeners == 0 || len(s.found) >= s.want
}

// search returns the search for the key that is under way, or starts one. The caller leaves
// it. It is nil when the Discovery is closed.
func (d *Discovery) search(key blob.Digest, want int) *search {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.searches[key]; s != nil && s.join(want) {
		return s
	}
	if d.closed {
		return nil
	}
	s := newSearch(key, d.ledger.claim(key, time.Now()))
	s.join(want)
	d.searches[key] = s
	d.begin(s)
	return s
}

// announcedHere tells whoever on this node looks for the key of one who announced it here. A
// node close to the key of a crowd has no time to ask, and need not.
func (d *Discovery) announcedHere(key blob.Digest, p peer.AddrInfo) {
	d.mu.Lock()
	s := d.searches[key]
	d.mu.Unlock()
	if s != nil {
		d.sight(s, p)
	}
}

// run walks towards the search's key and announces it, if that is what the search is for.
func (d *Discovery) run(ctx context.Context, s *search) {
	w, placed := d.walk(ctx, s)
	s.end()
	d.mu.Lock()
	if d.searches[s.key] == s {
		delete(d.searches, s.key)
	}
	d.mu.Unlock()
	if s.announces {
		d.announced(ctx, s.key, w, placed)
	}
}

// An answer is how an ask goes: the peer is slow, it answered, or it failed.
type answer struct {
	from         peer.ID
	now          stage
	participants []*peer.AddrInfo
	closer       []*peer.AddrInfo
}

// walk asks until the search is satisfied or the walk done, ctx over or the time. It returns
// the walk and the number of peers that took this node's record. Close waits for asks that are
// still under way.
func (d *Discovery) walk(ctx context.Context, s *search) (w *walk, placed int) {
	width := askers
	if s.announces {
		width = keepers
	}
	place := placeOf(s.key)
	w = newWalk(place, width, d.host.ID(), d.dht.RoutingTable().NearestPeers(place, keepers))
	answers := make(chan answer, 2*maxAsks) // each ask has at most two, and none waits
	for _, p := range d.server.records.some(time.Now(), s.key, d.host.ID(), MaxFound) {
		d.sight(s, pb.PBPeerToPeerInfo(p))
	}
	over := time.NewTimer(findTimeout)
	defer over.Stop()
	for !w.done() && !s.satisfied(placed) {
		for p, ok := w.next(); ok; p, ok = w.next() {
			d.wg.Go(func() { d.ask(ctx, s, p, answers) })
		}
		select {
		case <-ctx.Done():
			return w, placed
		case <-over.C:
			return w, placed
		case a := <-answers:
			if w.tell(a.from, a.now); a.now != answered {
				continue
			}
			placed++
			for _, p := range a.closer[:min(len(a.closer), maxCloser)] {
				d.hear(w, p)
			}
			for _, p := range a.participants[:min(len(a.participants), maxTaken)] {
				d.sight(s, *p)
			}
		}
	}
	return w, placed
}

// ask asks a peer for participants and for closer peers. For a search that announces it
// places the record there first: an answer then says that it was taken, for both go over the
// stream that is kept for the peer, and one that refuses the record closes that.
func (d *Discovery) ask(ctx context.Context, s *search, p peer.ID, answers chan<- answer) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	started := time.Now()
	late := time.AfterFunc(d.patience.now(), func() { answers <- answer{from: p, now: slow} })
	a := answer{from: p, now: answered}
	var err error
	if s.announces {
		err = d.messenger.PutProviderAddrs(ctx, p, hashOf(s.key), selfOf(d.host))
	}
	if err == nil {
		a.participants, a.closer, err = d.messenger.GetProviders(ctx, p, hashOf(s.key))
	}
	late.Stop()
	switch {
	case err == nil:
		d.patience.took(time.Since(started))
	case !errors.Is(ctx.Err(), context.Canceled): // this node does not stop
		d.dht.RoutingTable().RemovePeer(p)
		d.log.DebugContext(ctx, "asking a peer failed", "peer", p.String(), "key", s.key.Short(), "error", err)
		fallthrough
	default:
		a.now = failed
	}
	answers <- a
}

// hear has the walk take a peer that an answer named, if somebody says where that is.
func (d *Discovery) hear(w *walk, p *peer.AddrInfo) {
	if !validID(p.ID) || d.host.Blocked(p.ID) {
		return
	}
	store := d.host.Host().Peerstore()
	addrs := dialable(p.Addrs)
	if len(addrs) == 0 && len(store.Addrs(p.ID)) == 0 {
		return
	}
	if w.hear(p.ID) && len(d.host.Host().Network().ConnsToPeer(p.ID)) == 0 {
		store.AddAddrs(p.ID, addrs, peerstore.TempAddrTTL)
	}
}

// sight takes note of a participant that an answer named. One without addresses may come again
// from a peer that knows where it is.
func (d *Discovery) sight(s *search, p peer.AddrInfo) {
	if !validID(p.ID) || p.ID == d.host.ID() || d.host.Blocked(p.ID) {
		return
	}
	store := d.host.Host().Peerstore()
	store.AddAddrs(p.ID, dialable(p.Addrs), d.config.Validity)
	if known := store.PeerInfo(p.ID); len(known.Addrs) > 0 {
		s.find(known)
	}
}
