package discovery

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/pkg/blob"
)

const (
	// recordsPerKey is how many participants of one key are kept. A hot key has one per node,
	// and a peer that was found tells of the others (peer exchange).
	recordsPerKey = 64
	// recordsPerPeer is how many keys a peer may be a participant of here: what a node
	// announces with the default configuration.
	recordsPerPeer = DefaultMaxKeys
	// maxRecords bounds what all other nodes can store here, about 150 bytes each.
	maxRecords = 200_000
)

// records holds what other nodes announced here, in memory: it lives for minutes. It is safe
// for concurrent use.
type records struct {
	validity time.Duration

	mu    sync.Mutex
	rng   *rand.Rand
	keys  map[blob.Digest][]record // in no order
	peers map[peer.ID]*participant // those with a record
	most  participants             // the same
	n     int
	limit int // maxRecords
}

// A record says that a participant announced the key it is kept under.
type record struct {
	of    *participant
	at    int // where in of.keys its key is
	until time.Time
}

// A participant is a node with records here.
type participant struct {
	id    peer.ID
	where *pb.Message_Peer // as answers have it; replaced, never changed
	keys  []blob.Digest    // of its records, in no order
	place int              // in participants
}

// participants is a heap: whoever has the most records is in front.
type participants []*participant

func (ps participants) Len() int           { return len(ps) }
func (ps participants) Less(i, j int) bool { return len(ps[i].keys) > len(ps[j].keys) }
func (ps participants) Swap(i, j int) {
	ps[i], ps[j] = ps[j], ps[i]
	ps[i].place, ps[j].place = i, j
}

// Push implements heap.Interface.
func (ps *participants) Push(x any) {
	p := x.(*participant) //nolint:errcheck // the heap holds nothing else
	p.place = len(*ps)
	*ps = append(*ps, p)
}

// Pop implements heap.Interface.
func (ps *participants) Pop() any {
	last := len(*ps) - 1
	p := (*ps)[last]
	(*ps)[last], *ps = nil, (*ps)[:last]
	return p
}

func newRecords(validity time.Duration, seed uint64) *records {
	return &records{
		validity: validity, rng: rand.New(rand.NewPCG(seed, seed)),
		keys: map[blob.Digest][]record{}, peers: map[peer.ID]*participant{}, limit: maxRecords,
	}
}

// put keeps a record of the peer, and where it is, for the validity. Of a key with too many it
// takes the place of another, and where there are too many in all, of one of the participant that
// has the most. It reports false when there is no room for more of this peer's: it comes again.
func (r *records) put(now time.Time, key blob.Digest, id peer.ID, where *pb.Message_Peer) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	has := 0
	if p := r.peers[id]; p != nil {
		p.where, has = where, len(p.keys)
		for i, rec := range r.keys[key] {
			if rec.of == p {
				r.keys[key][i].until = now.Add(r.validity)
				return true
			}
		}
	}
	switch n := len(r.keys[key]); {
	case has >= recordsPerPeer:
		return false
	case n >= recordsPerKey:
		r.drop(key, r.rng.IntN(n))
	case r.n >= r.limit:
		if len(r.most[0].keys) <= has {
			return false
		}
		r.makeRoom()
	}
	p := r.peers[id] // it may have lost its place
	if p == nil {
		p = &participant{id: id, where: where}
		r.peers[id] = p
		heap.Push(&r.most, p)
	}
	r.keys[key] = append(r.keys[key], record{of: p, at: len(p.keys), until: now.Add(r.validity)})
	p.keys = append(p.keys, key)
	heap.Fix(&r.most, p.place)
	r.n++
	return true
}

// makeRoom drops a record of the participant that has the most.
func (r *records) makeRoom() {
	p := r.most[0]
	key := p.keys[r.rng.IntN(len(p.keys))]
	r.drop(key, slices.IndexFunc(r.keys[key], func(rec record) bool { return rec.of == p }))
}

// drop removes record i of the key.
func (r *records) drop(key blob.Digest, i int) {
	list := r.keys[key]
	gone, last := list[i], len(list)-1
	list[i], list[last] = list[last], record{}
	if r.keys[key] = list[:last]; last == 0 {
		delete(r.keys, key)
	}
	r.n--
	p := gone.of
	last = len(p.keys) - 1
	moved := p.keys[last]
	p.keys[gone.at], p.keys = moved, p.keys[:last]
	if last == 0 {
		heap.Remove(&r.most, p.place)
		delete(r.peers, p.id)
		return
	}
	heap.Fix(&r.most, p.place)
	for i, rec := range r.keys[moved] {
		if rec.of == p {
			r.keys[moved][i].at = gone.at
		}
	}
}

// some draws at most limit participants of the key, but not the given one.
func (r *records) some(now time.Time, key blob.Digest, except peer.ID, limit int) []*pb.Message_Peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.expire(now, key)
	out := make([]*pb.Message_Peer, 0, min(limit, len(list)))
	for i := range list {
		if len(out) == limit {
			break
		}
		j := i + r.rng.IntN(len(list)-i)
		list[i], list[j] = list[j], list[i]
		if list[i].of.id != except {
			out = append(out, list[i].of.where)
		}
	}
	return out
}

// expire drops the key's records whose time is over, and returns the others.
func (r *records) expire(now time.Time, key blob.Digest) []record {
	for i, rec := range slices.Backward(r.keys[key]) {
		if !rec.until.After(now) {
			r.drop(key, i)
		}
	}
	return r.keys[key]
}

// sweep drops all records whose time is over.
func (r *records) sweep(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key := range r.keys {
		r.expire(now, key)
	}
}

// len is the number of records.
func (r *records) len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}
