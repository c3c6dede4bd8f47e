package scheduler

import (
	"cmp"
	"maps"
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A BlobView shows one blob for status. It shares nothing with the Machine.
type BlobView struct {
	Blob, Image   blob.Digest
	Size          blob.ByteCount
	Proven        bool
	Chunks        blob.ChunkIndex // of the blob
	R, V, Q       blob.ChunkIndex // chunks by state; V is every chunk once proven
	Percent       int             // chunks here, of any state
	Peers         int             // sessions
	Seeders       int             // sessions with seeders
	Candidates    int             // peers known but not tried
	Clients       int             // waiting
	Asks          int             // chunks asked of peers now
	Reads         int             // upstream reads now
	Uploads       int             // chunks sent or queued now
	ChainSupplier PeerID          // whose chain is being checked; empty: none
}

// Blobs shows every blob that this node downloads or serves, in the order in which they began.
func (m *Machine) Blobs() []BlobView {
	views := make([]BlobView, 0, len(m.order))
	for _, s := range m.order {
		views = append(views, m.view(s))
	}
	return views
}

func (m *Machine) view(s *swarm) BlobView {
	v := BlobView{
		Blob: s.blob, Image: s.image, Size: s.geometry.Size(), Proven: s.proven, Chunks: s.n,
		Percent: int(100 * int64(s.n-s.missing) / int64(s.n)),
		Peers:   len(s.sorted), Candidates: len(s.hood.known.list), Clients: m.clients[s.blob],
		Asks: len(s.asks.open), Reads: s.up.busy(), Uploads: m.uploads.ofBlob(s.blob),
		ChainSupplier: s.proof.supplier,
	}
	for _, p := range s.sorted {
		if p.seeder() {
			v.Seeders++
		}
	}
	if s.proven {
		v.V = s.n
	}
	for i := range s.chunks {
		switch s.chunks[i].state {
		case quarantined:
			v.Q++
		case registry:
			v.R++
		case verified:
			v.V++
		case missing:
		}
	}
	return v
}

// A QuarantineView shows one peer that is refused.
type QuarantineView struct {
	Peer  PeerID
	Blob  blob.Digest // where it misbehaved
	What  string
	Until Time
	Times int // how often it was quarantined
}

// Quarantined shows the peers that are refused at now, by ID.
func (m *Machine) Quarantined(now Time) []QuarantineView {
	var views []QuarantineView
	for _, id := range slices.SortedFunc(maps.Keys(m.banned), cmp.Compare[PeerID]) {
		if s := m.banned[id]; s.until > now {
			views = append(views, QuarantineView{Peer: id, Blob: s.blob, What: s.what, Until: s.until, Times: s.times})
		}
	}
	return views
}
