package discovery

import (
	"context"
	"strings"
	"sync"

	"github.com/ipfs/go-datastore"
	"github.com/ipfs/go-datastore/query"
)

const (
	// recordsPerKey is how many providers of one key are kept. A hot key has one per node, and
	// a peer that was found tells of the others (peer exchange).
	recordsPerKey = 64
	// maxRecords bounds what all other nodes can store here, about 200 bytes each.
	maxRecords = 200_000
)

// records holds the provider records that other nodes placed here, in memory: they live for
// minutes. It is grouped by key, because the map that the DHT comes with is searched from end
// to end for every question. It is safe for concurrent use.
//
// The DHT names a record "/providers/KEY/PEER" and asks for a key by its folder.
type records struct {
	mu     sync.Mutex
	folder map[string]map[string][]byte // "/providers/KEY" -> whole name -> value
	n      int
}

var _ datastore.Batching = (*records)(nil)

func newRecords() *records { return &records{folder: map[string]map[string][]byte{}} }

func folderOf(name string) string { return name[:max(strings.LastIndexByte(name, '/'), 0)] }

// Put implements datastore.Write. A record for which there is no room is dropped: its owner
// comes again. In a folder that is full it takes the place of another.
func (r *records) Put(_ context.Context, key datastore.Key, value []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := key.String()
	at := folderOf(name)
	in := r.folder[at]
	if _, ok := in[name]; !ok {
		if len(in) >= recordsPerKey {
			for other := range in { // any of them
				r.remove(other)
				break
			}
		}
		if r.n >= maxRecords {
			return nil
		}
		if in = r.folder[at]; in == nil {
			in = map[string][]byte{}
			r.folder[at] = in
		}
		r.n++
	}
	in[name] = value
	return nil
}

// Delete implements datastore.Write.
func (r *records) Delete(_ context.Context, key datastore.Key) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.remove(key.String())
	return nil
}

// remove is called with the lock held.
func (r *records) remove(name string) {
	at := folderOf(name)
	in := r.folder[at]
	if _, ok := in[name]; !ok {
		return
	}
	delete(in, name)
	r.n--
	if len(in) == 0 {
		delete(r.folder, at)
	}
}

// Get implements datastore.Read.
func (r *records) Get(_ context.Context, key datastore.Key) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	value, ok := r.folder[folderOf(key.String())][key.String()]
	if !ok {
		return nil, datastore.ErrNotFound
	}
	return value, nil
}

// Has implements datastore.Read.
func (r *records) Has(ctx context.Context, key datastore.Key) (bool, error) {
	_, err := r.Get(ctx, key)
	return err == nil, nil
}

// GetSize implements datastore.Read.
func (r *records) GetSize(ctx context.Context, key datastore.Key) (int, error) {
	value, err := r.Get(ctx, key)
	if err != nil {
		return -1, err
	}
	return len(value), nil
}

// Query implements datastore.Read.
func (r *records) Query(_ context.Context, q query.Query) (query.Results, error) {
	entries := r.entries(strings.TrimSuffix(datastore.NewKey(q.Prefix).String(), "/"))
	return query.NaiveQueryApply(q, query.ResultsWithEntries(q, entries)), nil
}

func (r *records) entries(prefix string) []query.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	if in, ok := r.folder[prefix]; ok {
		return appendEntries(make([]query.Entry, 0, len(in)), in)
	}
	var out []query.Entry
	for at, in := range r.folder {
		if strings.HasPrefix(at, prefix+"/") {
			out = appendEntries(out, in)
		}
	}
	return out
}

func appendEntries(out []query.Entry, in map[string][]byte) []query.Entry {
	for name, value := range in {
		out = append(out, query.Entry{Key: name, Value: value, Size: len(value)})
	}
	return out
}

// Len is the number of records.
func (r *records) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.n
}

// Sync implements datastore.Datastore; there is nothing to do.
func (r *records) Sync(context.Context, datastore.Key) error { return nil }

// Batch implements datastore.Batching.
func (r *records) Batch(context.Context) (datastore.Batch, error) {
	return datastore.NewBasicBatch(r), nil
}

// Close implements datastore.Datastore; there is nothing to do.
func (r *records) Close() error { return nil }

// noCache has the DHT look into records each time: a cached set of providers would know no bound.
type noCache struct{}

func (noCache) Add(any, any) bool              { return false }
func (noCache) Get(any) (any, bool)            { return nil, false }
func (noCache) Contains(any) bool              { return false }
func (noCache) Peek(any) (any, bool)           { return nil, false }
func (noCache) Remove(any) bool                { return false }
func (noCache) RemoveOldest() (any, any, bool) { return nil, nil, false }
func (noCache) GetOldest() (any, any, bool)    { return nil, nil, false }
func (noCache) Keys() []any                    { return nil }
func (noCache) Len() int                       { return 0 }
func (noCache) Purge()                         {}
func (noCache) Resize(int) int                 { return 0 }
