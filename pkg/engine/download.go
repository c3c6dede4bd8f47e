package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
	"github.com/shoal-project/shoal/pkg/meter"
	"github.com/shoal-project/shoal/pkg/store"
	"github.com/shoal-project/shoal/pkg/upstream"
	"github.com/shoal-project/shoal/scheduler"
)

// errNoBytes is returned for content that this entry does not hold.
var errNoBytes = errors.New("no bytes of the blob are held here")

// A download is one blob in memory: on its way, or proven and being served. The fields
// above mu never change; the rest is guarded by it.
type download struct {
	digest   blob.Digest
	geometry blob.Geometry
	image    blob.Digest
	started  time.Time

	fromUpstream, fromPeers, toPeers atomic.Int64 // bytes
	upRate, peerRate                 meter.Meter  // in

	mu       sync.Mutex
	partial  *store.Partial // nil once committed, and for a blob that came from the store
	proven   *store.Proven  // nil until committed
	done     bool           // proven: the client may have everything
	err      error          // why it ended without the blob
	changed  chan struct{}  // closed and replaced when more may be read
	sources  []upstream.Source
	upErr    error // what upstream said last
	chains   map[scheduler.PeerID]chain.Chain
	reads    map[scheduler.ReadID]func()
	bodies   int
	sessions int
	lastUsed time.Time
}

// maxSources bounds the credentials kept for one blob.
const maxSources = 8

func newDownload(d blob.Digest, g blob.Geometry, image blob.Digest, now time.Time) *download {
	return &download{
		digest: d, geometry: g, image: image, started: now, lastUsed: now,
		changed: make(chan struct{}),
		chains:  map[scheduler.PeerID]chain.Chain{},
		reads:   map[scheduler.ReadID]func(){},
	}
}

// notify wakes everybody who waits for more. The caller holds mu.
func (d *download) notify() {
	close(d.changed)
	d.changed = make(chan struct{})
}

// more tells the waiting clients that bytes came.
func (d *download) more() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.notify()
}

// fail ends the download without the blob. A proven one stays proven.
func (d *download) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done || d.err != nil {
		return
	}
	d.err = err
	for _, cancel := range d.reads {
		cancel()
	}
	d.notify()
}

// addSource remembers where the blob can be read and with which credential, newest
// first, and reports whether it was unknown.
func (d *download) addSource(src upstream.Source) bool {
	if src.Registry == "" {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, known := range d.sources {
		if known.Repository == src.Repository && known.Credential.Equal(src.Credential) {
			copy(d.sources[1:i+1], d.sources[:i])
			d.sources[0] = known
			return false
		}
	}
	d.sources = append([]upstream.Source{src}, d.sources...)
	d.sources = d.sources[:min(len(d.sources), maxSources)]
	return true
}

// upstreams returns the sources known now, newest first.
func (d *download) upstreams() []upstream.Source {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]upstream.Source(nil), d.sources...)
}

// file opens the proven bytes anew: an offset of its own, and good after eviction.
func (d *download) file() (*os.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case !d.done:
		return nil, errNoBytes
	case d.proven != nil:
		return d.proven.File()
	case d.partial != nil:
		return d.partial.File()
	default:
		return nil, errNoBytes
	}
}

// chunk opens chunk i for a peer: R, V or proven, never Q; the store sees to that.
func (d *download) chunk(i blob.ChunkIndex) (io.Reader, error) {
	d.mu.Lock()
	partial, proven := d.partial, d.proven
	d.mu.Unlock()
	g := d.geometry
	switch {
	case proven != nil:
		return io.NewSectionReader(proven, int64(g.Offset(i)), int64(g.Length(i))), nil
	case partial != nil:
		return partial.ReadServable(i)
	default:
		return nil, errNoBytes
	}
}

// live returns the partial file, or nil when the download ended.
func (d *download) live() *store.Partial {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return nil
	}
	return d.partial
}

// An AbandonedError reports a download that ended without the blob.
type AbandonedError struct {
	Blob blob.Digest
	Why  scheduler.Fault
	// Upstream is what the registry said last; nil when it was not asked.
	Upstream error
}

func (e *AbandonedError) Error() string {
	if e.Upstream != nil {
		return fmt.Sprintf("download of %s given up: %v", e.Blob.Short(), e.Upstream)
	}
	return fmt.Sprintf("download of %s given up: %s", e.Blob.Short(), e.Why)
}

// Unwrap gives what the registry said.
func (e *AbandonedError) Unwrap() error { return e.Upstream }
