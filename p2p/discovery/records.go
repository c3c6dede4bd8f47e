package discovery

import (
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
	// maxRecords bounds what all other nodes can store here, about 100 bytes each.
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
	n     int
}

// A record says that a participant announced the key it is kept under.
type record struct {
	of    *participant
	until time.Time
}

// A participant is a node with records here.
type participant struct {
	id      peer.ID
	where   *pb.Message_Peer // as answers have it; replaced, never changed
	records int
}

func newRecords(validity time.Duration, seed uint64) *records {
	return &records{
		validity: validity, rng: rand.New(rand.NewPCG(seed, seed)),
		keys: map[blob.Digest][]record{}, peers: map[peer.ID]*participant{},
	}
}

// put keeps a record of the peer, and where it is, for the validity. Of a key with too many it
// takes the place of another. It reports false when there is no room: the peer comes again.
func (r *records) put(now time.Time, key blob.Digest, id peer.ID, where *pb.Message_Peer) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.peers[id]
	if p != nil {
		p.where = where
	}
	list := r.keys[key]
	for i := range list {
		if p != nil && list[i].of == p {
			list[i].until = now.Add(r.validity)
			return true
		}
	}
	if p != nil && p.records >= recordsPerPeer {
		return false
	}
	if len(list) >= recordsPerKey {
		list = r.drop(list, r.rng.IntN(len(list)))
	} else if r.n >= maxRecords {
		return false
	}
	if p = r.peers[id]; p == nil { // it may be who lost its place
		p = &participant{id: id, where: where}
		r.peers[id] = p
	}
	p.records++
	r.n++
	r.keys[key] = append(list, record{p, now.Add(r.validity)})
	return true
}

// drop removes record i of the list.
func (r *records) drop(list []record, i int) []record {
	p := list[i].of
	if p.records--; p.records == 0 {
		delete(r.peers, p.id)
	}
	r.n--
	last := len(list) - 1
	list[i], list[last] = list[last], record{}
	return list[:last]
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

// expire drops the key's records whose time is over.
func (r *records) expire(now time.Time, key blob.Digest) []record {
	list, ok := r.keys[key]
	if !ok {
		return nil
	}
	for i, rec := range slices.Backward(list) {
		if !rec.until.After(now) {
			list = r.drop(list, i)
		}
	}
	if r.keys[key] = list; len(list) == 0 {
		delete(r.keys, key)
	}
	return list
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
