package scheduler

import (
	"maps"
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
)

// An upload is one chunk that a peer asked for.
type upload struct {
	blob  blob.Digest
	peer  PeerID
	chunk blob.ChunkIndex
}

// verifierPlaces of the queue are taken from others for verifiers, who need two each.
const verifierPlaces = 2 * verifiers

// MaxStuck bounds the uploads beyond Config.Uploads: those that nobody takes in hold no place.
const MaxStuck = 64

// uploads are the asks of peers over all blobs: a few are served at a time, the others
// wait in the order in which they came.
type uploads struct {
	active, queue []upload
	since         map[upload]Time // the active ones
	away          []turned        // who found the queue full, has put nothing in it since, and will be back; oldest first
	endedAt       Time            // when one last ended, or the queue was last empty
	each          Time            // between two that end while others wait, smoothed
}

// A turned is a peer that was turned away.
type turned struct {
	peer PeerID
	at   Time
}

// backFor is how long whom the queue had no place for is expected back. Refused, it rests for up to 2.4 s,
// and asks others for something else first.
const backFor = 10 * second

func (u *uploads) unqueue(x upload) {
	u.queue = slices.DeleteFunc(u.queue, func(y upload) bool { return x == y })
}

func (u *uploads) end(x upload, now Time) {
	at := slices.Index(u.active, x)
	if at < 0 {
		return
	}
	u.active = slices.Delete(u.active, at, at+1)
	delete(u.since, x)
	if len(u.queue) > 0 {
		u.each = smooth(u.each, now-u.endedAt)
	}
	u.endedAt = now
}

// turnAway notes that there was no place for an ask of a peer.
func (u *uploads) turnAway(id PeerID, now Time) {
	if !slices.ContainsFunc(u.away, func(x turned) bool { return x.peer == id }) {
		u.away = append(u.away, turned{id, now})
	}
}

// back notes that a peer that was turned away came again, or will not.
func (u *uploads) back(id PeerID) {
	u.away = slices.DeleteFunc(u.away, func(x turned) bool { return x.peer == id })
}

// backlog is how long what waits will take.
func (u *uploads) backlog() Time { return Time(len(u.queue)) * u.each }

// demand is the backlog with one ask of everybody who is expected back.
func (u *uploads) demand(now Time) Time {
	u.away = slices.DeleteFunc(u.away, func(x turned) bool { return now >= x.at+backFor })
	return u.backlog() + Time(len(u.away))*u.each
}

func (u *uploads) dropBlob(d blob.Digest) {
	u.drop(func(x upload) bool { return x.blob == d })
}

func (u *uploads) drop(gone func(upload) bool) {
	u.active = slices.DeleteFunc(u.active, gone)
	u.queue = slices.DeleteFunc(u.queue, gone)
	maps.DeleteFunc(u.since, func(x upload, _ Time) bool { return gone(x) })
}

func (u *uploads) dropPeer(d blob.Digest, id PeerID) {
	u.back(id)
	u.drop(func(x upload) bool { return x.blob == d && x.peer == id })
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
	// Every ask has one answer, so one that repeats another under way has its own.
	twice := slices.Contains(u.queue, x) || slices.Contains(u.active, x)
	if twice || !s.servable.Has(ev.Chunk) || u.ofPeer(ev.Peer) >= m.cfg.UploadsPerPeer || !m.makeWay(x) {
		m.do(RefuseBusy(ev))
		return
	}
	if len(u.queue) == 0 {
		u.endedAt = m.now
	}
	u.queue = append(u.queue, x)
	u.back(x.peer)
}

// makeWay reports whether there is room for one more ask. Whoever has most in a full queue gives
// way to those who have less, so that a few cannot fill it, and everybody to the first asks of verifiers.
func (m *Machine) makeWay(ask upload) bool {
	u := &m.uploads
	if len(u.queue) < m.cfg.UploadQueue {
		return true
	}
	verifier := m.verifies(ask) && m.verifying() < verifierPlaces
	waiting := map[PeerID]int{}
	last := -1 // of those who have most, the ask that came last
	for at, x := range u.queue {
		waiting[x.peer]++
		if verifier && m.verifies(x) {
			continue
		}
		if last < 0 || waiting[x.peer] >= waiting[u.queue[last].peer] {
			last = at
		}
	}
	if last < 0 || !verifier && waiting[u.queue[last].peer] <= waiting[ask.peer]+1 {
		m.noPlace(ask)
		return false
	}
	x := u.queue[last]
	u.queue = slices.Delete(u.queue, last, last+1)
	m.noPlace(x)
	m.do(RefuseBusy{Blob: x.blob, Peer: x.peer, Chunk: x.chunk})
	return true
}

// verifying is how many asks of the queue are verifiers'.
func (m *Machine) verifying() int {
	n := 0
	for _, x := range m.uploads.queue {
		if m.verifies(x) {
			n++
		}
	}
	return n
}

// noPlace notes who will be back: nobody else has what this node read of a blob without a chain.
func (m *Machine) noPlace(x upload) {
	if s := m.swarms[x.blob]; s != nil && !s.proven && !s.proof.has && !m.takesNothing(x.peer) {
		m.uploads.turnAway(x.peer, m.now)
	}
}

// startUploads serves the asks that waited longest while there is room, except that some
// come first; see turn.
func (m *Machine) startUploads() {
	u := &m.uploads
	for len(u.queue) > 0 && m.moving() < m.cfg.Uploads && len(u.active) < m.cfg.Uploads+MaxStuck {
		at := m.nextUpload()
		x := u.queue[at]
		u.queue = slices.Delete(u.queue, at, at+1)
		// The chunk may be lost since it was asked for.
		if s := m.swarms[x.blob]; s == nil || !s.servable.Has(x.chunk) || m.takesNothing(x.peer) {
			m.do(RefuseBusy{Blob: x.blob, Peer: x.peer, Chunk: x.chunk})
			continue
		}
		u.active = append(u.active, x)
		u.since[x] = m.now
		m.do(Serve{Blob: x.blob, Peer: x.peer, Chunk: x.chunk})
	}
	if len(u.queue) == 0 { // there was room, and nobody came
		u.away = nil
	}
}

// stuckAt is when an upload that has not ended holds no place any more: whoever asks for
// everything and takes nothing in must not keep a node from serving others.
func (m *Machine) stuckAt(x upload) Time {
	at := m.uploads.since[x] + m.cfg.Patience
	if s := m.swarms[x.blob]; s != nil {
		at += s.slowChunk()
	}
	return at
}

// moving is how many uploads hold a place.
func (m *Machine) moving() int {
	n := 0
	for _, x := range m.uploads.active {
		if m.now < m.stuckAt(x) {
			n++
		}
	}
	return n
}

// takesNothing reports whether a peer lets an upload stand still: it gets no other one meanwhile.
func (m *Machine) takesNothing(id PeerID) bool {
	return slices.ContainsFunc(m.uploads.active, func(x upload) bool { return x.peer == id && m.now >= m.stuckAt(x) })
}

// placeFree is when the next upload that stands still loses its place to one that waits.
func (m *Machine) placeFree() Time {
	at := never
	if len(m.uploads.queue) == 0 {
		return at
	}
	for _, x := range m.uploads.active {
		if stuck := m.stuckAt(x); stuck > m.now {
			at = min(at, stuck)
		}
	}
	return at
}

// nextUpload is the place in the queue of the ask to be served now.
func (m *Machine) nextUpload() int {
	// One place is for verifiers: all send to the few, whose downlinks would else hold up the rest.
	verifier := !slices.ContainsFunc(m.uploads.active, m.verifies)
	best, first := 0, m.turn(m.uploads.queue[0], verifier)
	for at, x := range m.uploads.queue[1:] {
		if t := m.turn(x, verifier); t < first {
			best, first = at+1, t
		}
	}
	return best
}

// turn says how soon an ask is served, before others that came earlier: those of a verifier
// if its place is free; not many of one peer, and not many of one blob, while others wait; and
// with a chain, those of who comes next in the line, which has nobody else to ask.
func (m *Machine) turn(x upload, verifier bool) (turn int) {
	const few, many, line = 1 << 8, 1 << 4, 1
	if verifier && m.verifies(x) {
		return -1
	}
	samePeer, sameBlob := 0, 0
	for _, y := range m.uploads.active {
		if y.blob == x.blob {
			sameBlob++
		}
		if y.peer == x.peer {
			samePeer++
		}
	}
	if samePeer >= fewAsks {
		turn += few
	}
	turn += many * sameBlob
	if s := m.swarms[x.blob]; s != nil && (s.proven || s.proof.has) {
		m.arrange(s)
		at := slices.IndexFunc(s.order.next, func(p *peer) bool { return p.id == x.peer })
		if at < 0 {
			at = len(s.order.next)
		}
		turn += line * at
	}
	return turn
}

// verifies reports whether an upload helps the swarm to its first chain.
func (m *Machine) verifies(x upload) bool {
	s := m.swarms[x.blob]
	if s == nil || s.proven || s.proof.has {
		return false
	}
	m.arrange(s)
	p := s.peers[x.peer]
	return p != nil && p.verifier
}
