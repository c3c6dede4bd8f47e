package scheduler

import (
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
)

// An upload is one chunk that a peer asked for.
type upload struct {
	blob  blob.Digest
	peer  PeerID
	chunk blob.ChunkIndex
}

// uploads are the asks of peers over all blobs: a few are served at a time, the others
// wait in the order in which they came.
type uploads struct {
	active, queue []upload
}

func (u *uploads) unqueue(x upload) {
	u.queue = slices.DeleteFunc(u.queue, func(y upload) bool { return x == y })
}

func (u *uploads) end(x upload) {
	if at := slices.Index(u.active, x); at >= 0 {
		u.active = slices.Delete(u.active, at, at+1)
	}
}

func (u *uploads) dropBlob(d blob.Digest) {
	gone := func(x upload) bool { return x.blob == d }
	u.active = slices.DeleteFunc(u.active, gone)
	u.queue = slices.DeleteFunc(u.queue, gone)
}

func (u *uploads) dropPeer(d blob.Digest, id PeerID) {
	gone := func(x upload) bool { return x.blob == d && x.peer == id }
	u.active = slices.DeleteFunc(u.active, gone)
	u.queue = slices.DeleteFunc(u.queue, gone)
}

func (u *uploads) ofBlob(d blob.Digest) int {
	n := 0
	for _, x := range slices.Concat(u.active, u.queue) {
		if x.blob == d {
			n++
		}
	}
	return n
}

func (u *uploads) ofPeer(id PeerID) int {
	n := 0
	for _, x := range slices.Concat(u.active, u.queue) {
		if x.peer == id {
			n++
		}
	}
	return n
}

// peerAsked queues an ask, or refuses it at once.
func (m *Machine) peerAsked(s *swarm, ev PeerAsked) {
	if s.peers[ev.Peer] == nil {
		return
	}
	if !s.geometry.Valid(ev.Chunk) {
		m.quarantine(ev.Peer, s.blob, "asked for a chunk beyond the end of the blob")
		return
	}
	x := upload{ev.Blob, ev.Peer, ev.Chunk}
	u := &m.uploads
	if slices.Contains(u.queue, x) || slices.Contains(u.active, x) {
		return // it will be answered once
	}
	if !s.servable.Has(ev.Chunk) || len(u.queue) >= m.cfg.UploadQueue || u.ofPeer(ev.Peer) >= m.cfg.UploadsPerPeer {
		m.do(RefuseBusy(ev))
		return
	}
	u.queue = append(u.queue, x)
}

// startUploads serves the asks that waited longest while there is room.
func (m *Machine) startUploads() {
	u := &m.uploads
	for len(u.queue) > 0 && len(u.active) < m.cfg.Uploads {
		x := u.queue[0]
		u.queue = slices.Delete(u.queue, 0, 1)
		if s := m.swarms[x.blob]; s == nil || !s.servable.Has(x.chunk) { // lost since it was asked for
			m.do(RefuseBusy{Blob: x.blob, Peer: x.peer, Chunk: x.chunk})
			continue
		}
		u.active = append(u.active, x)
		m.do(Serve{Blob: x.blob, Peer: x.peer, Chunk: x.chunk})
	}
}
