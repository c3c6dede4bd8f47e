package engine

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/meter"
	"github.com/shoal-project/shoal/scheduler"
)

// Traffic counts since the engine began. All figures are bytes but proven, which counts blobs.
type Traffic struct {
	fromUpstream, fromPeers, fromStore, toPeers, proven atomic.Int64
	upstreamRate, peersRate, toPeersRate                meter.Meter
}

// Totals are the counters of Traffic at one moment.
type Totals struct {
	FromUpstream, FromPeers, FromStore, ToPeers blob.ByteCount
	Proven                                      int64
	// Bytes a second, at the moment.
	RateUpstream, RatePeers, RateToPeers blob.ByteCount
}

// Totals returns the bytes moved since the engine began.
func (e *Engine) Totals() Totals {
	t, now := &e.traffic, time.Now()
	return Totals{
		RateUpstream: blob.ByteCount(t.upstreamRate.Rate(now)),
		RatePeers:    blob.ByteCount(t.peersRate.Rate(now)),
		RateToPeers:  blob.ByteCount(t.toPeersRate.Rate(now)),
		FromUpstream: blob.ByteCount(t.fromUpstream.Load()),
		FromPeers:    blob.ByteCount(t.fromPeers.Load()),
		FromStore:    blob.ByteCount(t.fromStore.Load()),
		ToPeers:      blob.ByteCount(t.toPeers.Load()),
		Proven:       t.proven.Load(),
	}
}

// A DownloadView shows one blob in memory.
type DownloadView struct {
	Blob, Image             blob.Digest
	Size                    blob.ByteCount
	Proven                  bool
	Started                 time.Time
	FromUpstream, FromPeers blob.ByteCount
	RateUpstream, RatePeers blob.ByteCount // bytes a second
	Have                    blob.ByteCount // here, proven or not
	Clients, Sessions       int
	Seeders                 int // peers in session that have the whole blob
}

// Downloads shows the blobs in memory, those under way first, then by digest.
func (e *Engine) Downloads(ctx context.Context) ([]DownloadView, error) {
	machine := map[blob.Digest]scheduler.BlobView{}
	err := e.look(ctx, func(m *scheduler.Machine) {
		for _, v := range m.Blobs() {
			machine[v.Blob] = v
		}
	})
	if err != nil {
		return nil, err
	}
	entries := e.entries()
	views := make([]DownloadView, 0, len(entries))
	for _, d := range entries {
		views = append(views, d.view(machine[d.digest]))
	}
	slices.SortFunc(views, func(a, b DownloadView) int {
		if a.Proven != b.Proven {
			if b.Proven {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Blob.Hex(), b.Blob.Hex())
	})
	return views, nil
}

func (d *download) view(m scheduler.BlobView) DownloadView {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	v := DownloadView{
		Blob: d.digest, Image: d.image, Size: d.geometry.Size(), Proven: d.done, Started: d.started,
		FromUpstream: blob.ByteCount(d.fromUpstream.Load()), FromPeers: blob.ByteCount(d.fromPeers.Load()),
		RateUpstream: blob.ByteCount(d.upRate.Rate(now)), RatePeers: blob.ByteCount(d.peerRate.Rate(now)),
		Clients: d.bodies, Sessions: d.sessions, Seeders: m.Seeders,
	}
	switch {
	case d.done:
		v.Have = v.Size
	case d.partial != nil:
		r, verified, q := d.partial.States()
		for _, set := range []blob.Bitset{r, verified, q} {
			for i := range set.All() {
				v.Have += d.geometry.Length(i)
			}
		}
	}
	return v
}

// Quarantined lists the peers that are refused now.
func (e *Engine) Quarantined(ctx context.Context) ([]scheduler.QuarantineView, error) {
	var list []scheduler.QuarantineView
	if err := e.look(ctx, func(m *scheduler.Machine) { list = m.Quarantined(e.now()) }); err != nil {
		return nil, err // and list may still be written to
	}
	return list, nil
}

// Wall turns the scheduler's time into the wall clock's.
func (e *Engine) Wall(at scheduler.Time) time.Time { return e.start.Add(time.Duration(at)) }

// Failures counts the asks that the peer did not answer with a right chunk in time, and
// the sessions that broke.
func (e *Engine) Failures(p peer.ID) int64 {
	n, _ := e.failures.Peek(p)
	return n
}

// failed counts one failure of the peer.
func (e *Engine) failed(p peer.ID) {
	e.countLock.Lock()
	defer e.countLock.Unlock()
	n, _ := e.failures.Get(p)
	e.failures.Add(p, n+1)
}
