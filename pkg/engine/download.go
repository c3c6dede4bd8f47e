package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/meter"
	"github.com/shoal-project/shoal/pkg/store"
	"github.com/shoal-project/shoal/pkg/upstream"
	"github.com/shoal-project/shoal/scheduler"
)

// errNoBytes is returned for content that this entry does not hold.
var errNoBytes = errors.New("no bytes of the blob are held here")

// A download is one blob in memory: on its way, or proven and being served. The first
// fields never change; those of the loop are touched by nobody else; the rest is guarded by mu.
type download struct {
	digest   blob.Digest
	geometry blob.Geometry
	image    blob.Digest
	started  time.Time

	fromUpstream, fromPeers, toPeers atomic.Int64 // bytes
	upRate, peerRate                 meter.Meter  // in

	// Of the loop.
	seeding   bool                       // the Machine knows that the blob is proven
	dropped   map[blob.ChunkIndex]uint64 // how often each chunk was forgotten
	dropLater map[blob.ChunkIndex]bool   // forgotten while an audit has hold of it
	losses    int                        // chunks that could not be read back

	mu         sync.Mutex
	partial    *store.Partial // nil until opened, and for a blob that was proven before
	proven     Proven         // nil until committed
	done       bool           // proven: the client may have everything
	committing bool
	gone       bool          // out of the engine's map
	err        error         // why it ended without the blob
	changed    chan struct{} // closed and replaced when more may be read
	sources    []upstream.Source
	upErr      error  // what upstream said last, if that was a no
	head       []byte // the first bytes, read from upstream for clients alone
	rewrites   int    // how often bytes went that clients may have been given
	worthless  bool   // what is on disk is wrong: it goes when the files are closed
	diskErr    error  // the disk's first failure
	claims     claims
	reads      map[scheduler.ReadID]context.CancelFunc
	works      map[*context.CancelFunc]struct{} // reads and audits under way
	bodies     int
	sessions   int
	lastUsed   time.Time
}

// maxSources bounds the credentials kept for one blob.
const maxSources = 8

func newDownload(d blob.Digest, g blob.Geometry, image blob.Digest, now time.Time) *download {
	return &download{
		digest: d, geometry: g, image: image, started: now, lastUsed: now,
		changed:   make(chan struct{}),
		dropped:   map[blob.ChunkIndex]uint64{},
		dropLater: map[blob.ChunkIndex]bool{},
		reads:     map[scheduler.ReadID]context.CancelFunc{},
		works:     map[*context.CancelFunc]struct{}{},
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

// opened gives the entry its partial file, and reports false if it ended meanwhile.
func (d *download) opened(partial *store.Partial) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return false
	}
	d.partial = partial
	d.notify()
	return true
}

// keep gives the entry the proven blob in its place, and reports false, with the blob
// closed, if the entry ended meanwhile.
func (d *download) keep(proven Proven) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gone || d.err != nil {
		_ = proven.Close() // it was only read
		return false
	}
	d.proven, d.done, d.lastUsed = proven, true, time.Now()
	d.notify()
	return true
}

// fail ends the download without the blob. A proven one stays proven.
func (d *download) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.done {
		d.end(err)
	}
}

// end is fail whatever the state. The caller holds mu.
func (d *download) end(err error) {
	if d.err != nil {
		return
	}
	d.done, d.err = false, err
	for cancel := range d.works {
		(*cancel)()
	}
	d.notify()
}

// leave ends an entry that is taken out of the map: its bodies fail. It returns true.
func (d *download) leave(err error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gone = true
	d.end(err)
	return true
}

// idleSince says since when nobody uses a proven blob, if nobody does.
func (d *download) idleSince() (time.Time, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lastUsed, d.idle()
}

func (d *download) idle() bool {
	return d.done && !d.committing && d.bodies == 0 && d.sessions == 0
}

// leaveIdle marks an idle entry as gone, unless somebody came meanwhile.
func (d *download) leaveIdle() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gone = d.idle()
	return d.gone
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

// files returns what the entry's bytes lie in.
func (d *download) files() (*store.Partial, Proven) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.partial, d.proven
}

// live returns the partial file, or nil when there is none yet or the download ended.
func (d *download) live() *store.Partial {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return nil
	}
	return d.partial
}

// ErrWrongBytes means that bytes from upstream turned out not to be those that the digest
// names, and that a client may have some of them.
var ErrWrongBytes = errors.New("upstream's bytes do not hash to the digest")

// rewrote notes that bytes which clients may have been given are gone: their bodies end.
func (d *download) rewrote() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rewrites++
	d.notify()
}

// servable reports whether chunk i may have been given to clients.
func servable(p *store.Partial, i blob.ChunkIndex) bool {
	_, err := p.ReadServable(i)
	return err == nil
}

// An AbandonedError reports a download that ended without the blob.
type AbandonedError struct {
	Blob blob.Digest
	Why  scheduler.Fault
	// Upstream is what the registry said last; nil when it was not asked, or is not the reason.
	Upstream error
	// Local is what failed on this node, if that is the reason.
	Local error
}

func (e *AbandonedError) Error() string {
	switch {
	case e.Upstream != nil:
		return fmt.Sprintf("download of %s given up: %v", e.Blob.Short(), e.Upstream)
	case e.Local != nil:
		return fmt.Sprintf("download of %s given up: %v", e.Blob.Short(), e.Local)
	default:
		return fmt.Sprintf("download of %s given up: %s", e.Blob.Short(), e.Why)
	}
}

// Unwrap gives what the registry said, or what failed here.
func (e *AbandonedError) Unwrap() []error {
	var errs []error
	for _, err := range []error{e.Upstream, e.Local} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// abandoned says why the download ends. What the registry said is told only where that
// is the reason: otherwise the client may still read from there.
func (d *download) abandoned(why scheduler.Fault) *AbandonedError {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := &AbandonedError{Blob: d.digest, Why: why}
	switch why {
	case scheduler.FaultDisk:
		err.Local = d.diskErr
	case scheduler.FaultGone, scheduler.FaultUnauthorized, scheduler.FaultTransient, scheduler.FaultNoSource:
		err.Upstream = d.upErr
	case scheduler.FaultMismatch:
		err.Upstream, d.worthless = ErrWrongBytes, true
	case scheduler.FaultNone, scheduler.FaultCancelled, scheduler.FaultMisbehaved:
	}
	return err
}
