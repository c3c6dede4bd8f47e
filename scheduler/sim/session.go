package sim

import (
	"cmp"
	"math"
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// A session is one side's end of a session about one blob.
type session struct {
	node, far *node
	disk      *disk
	other     *session // the far side's end
	open      bool
	heard     bool        // the Machine was told of it
	has       blob.Bitset // what the far side told
	asked     []asked     // of the far side, without an answer
	waits     []wait      // what the far side asked for, without an answer
	queue     []blob.ChunkIndex
	sending   *upload        // one chunk at a time, as p2p/exchange does
	sentUntil scheduler.Time // when the far side has all that was said so far
}

// asked is a chunk whose answer is to come.
type asked struct {
	chunk  blob.ChunkIndex
	owed   int  // answers
	wanted bool // the latest ask was not taken back
}

// A wait is a chunk that the far side waits for.
type wait struct {
	chunk  blob.ChunkIndex
	since  scheduler.Time
	queued bool // it will be sent when its turn comes
}

const (
	// dialTimeout is how long a dial waits that nobody answers.
	dialTimeout = second
	// handshake is how many latencies a connection takes before the first session on it.
	handshake = 3
	// silence is how long a connection stands still until it is given up.
	silence = 10 * second
)

func (d *disk) place(far *node) (int, bool) {
	return slices.BinarySearchFunc(d.sessions, far.number, func(s *session, number int) int {
		return cmp.Compare(s.far.number, number)
	})
}

// session is the open session with the peer, or nil.
func (d *disk) session(far *node) *session {
	if far == nil {
		return nil
	}
	if at, ok := d.place(far); ok {
		return d.sessions[at]
	}
	return nil
}

// connect dials the peer.
func (n *node) connect(a scheduler.Connect) {
	w, far := n.w, n.w.byID[a.Peer]
	failed := ended{n, n.life, far, scheduler.PeerLeft{Blob: a.Blob, Peer: a.Peer, Why: scheduler.FaultTransient}}
	switch {
	case far == n:
		w.fail(n, "connects to itself")
	case far == nil || far.dead && far.spec.Silent || w.parted(n, far):
		w.after(dialTimeout, failed)
	case far.dead:
		w.after(2*w.latency(n, far), failed)
	default:
		lat := w.latency(n, far)
		if !n.connected[far.number] {
			lat += handshake * lat
		}
		w.after(lat, dialled{n, far, n.life, n.disk(a.Blob)})
	}
}

// ended means that a session is over, or that a dial failed. It is nothing if there is another
// session with the peer meanwhile.
type ended struct {
	node *node
	life int
	far  *node // nil for one that does not exist
	left scheduler.PeerLeft
}

func (e ended) happen(*world) {
	if e.node.life == e.life && e.node.disk(e.left.Blob).session(e.far) == nil {
		e.node.step(e.left)
	}
}

// dialled means that a dial reaches the far side.
type dialled struct {
	node, far *node
	life      int // of the node
	disk      *disk
}

func (e dialled) happen(w *world) {
	n, far := e.node, e.far
	if n.life != e.life || !e.disk.live() {
		return
	}
	theirs := far.disks[e.disk.blob]
	left := scheduler.PeerLeft{Blob: e.disk.digest(), Peer: far.id, Why: scheduler.FaultGone}
	refused := far.dead || !theirs.live() || far.blocked[n.number] > w.now || n.blocked[far.number] > w.now
	old := theirs.session(n)
	switch {
	case w.parted(n, far):
		left.Why = scheduler.FaultTransient
		w.after(dialTimeout, ended{n, n.life, far, left})
	case refused:
		w.after(w.latency(n, far), ended{n, n.life, far, left})
	case old != nil && old.other.open:
		return // both dialled: one session is enough, and both hear of it
	default:
		if old != nil { // its end is on the way
			old.left(scheduler.FaultGone)
		}
		w.join(e.disk, theirs)
	}
}

// join opens a session: the side that was dialled learns of it now, the other in a latency.
func (w *world) join(dialler, theirs *disk) {
	n, far := dialler.node, theirs.node
	mine := &session{node: n, far: far, disk: dialler, open: true, has: blob.NewBitset(dialler.n)}
	other := &session{node: far, far: n, disk: theirs, open: true, has: blob.NewBitset(dialler.n), other: mine}
	mine.other = other
	for _, s := range []*session{mine, other} {
		at, _ := s.disk.place(s.far)
		s.disk.sessions = slices.Insert(s.disk.sessions, at, s)
		s.node.connected[s.far.number] = true
	}
	w.after(w.latency(n, far), joined{mine})
	joined{other}.happen(w)
}

// joined means that one side learns of a new session.
type joined struct{ s *session }

func (e joined) happen(*world) {
	s := e.s
	if !s.open {
		return
	}
	s.heard = true
	s.disk.heard++
	s.node.lieToNewcomer(s)
	s.node.step(scheduler.PeerJoined{Blob: s.disk.digest(), Peer: s.far.id, Zone: s.far.spec.Zone})
}

// disconnect ends a session from this side; both sides hear of it.
func (s *session) disconnect() {
	if !s.open {
		return
	}
	w := s.node.w
	s.close()
	w.after(0, ended{s.node, s.node.life, s.far, scheduler.PeerLeft{Blob: s.disk.digest(), Peer: s.far.id, Why: scheduler.FaultCancelled}})
	w.after(w.latency(s.node, s.far), leaving{s.other, scheduler.FaultGone})
}

// leaving means that one side learns of the end of a session.
type leaving struct {
	s   *session
	why scheduler.Fault
}

func (e leaving) happen(*world) { e.s.left(e.why) }

// left ends this side of a session and reports it, once.
func (s *session) left(why scheduler.Fault) {
	if !s.open {
		return
	}
	s.close()
	s.node.step(scheduler.PeerLeft{Blob: s.disk.digest(), Peer: s.far.id, Why: why})
}

// close forgets everything about this side of a session. What it was sending did not arrive.
func (s *session) close() {
	s.open = false
	d, w := s.disk, s.node.w
	if s.heard {
		d.heard--
	}
	if at, ok := d.place(s.far); ok && d.sessions[at] == s {
		d.sessions = slices.Delete(d.sessions, at, at+1)
	}
	for _, a := range s.asked {
		if a.wanted {
			d.forgetAsk(a.chunk)
		}
	}
	if s.sending != nil {
		w.fabric.stop(w.now, s.sending.flow)
		s.queue = slices.Insert(s.queue, 0, s.sending.chunk)
		s.sending = nil
	}
	if s.other.sending != nil {
		w.fabric.stop(w.now, s.other.sending.flow)
	}
	for _, i := range s.queue {
		s.node.uploads--
		s.node.soon(scheduler.UploadEnded{Blob: d.digest(), Peer: s.far.id, Chunk: i})
	}
	s.checkWaits()
	s.node.waits -= len(s.waits)
	s.asked, s.waits, s.queue = nil, nil, nil
}

// send has a message reach the far side, if the session lasts as long.
func (s *session) send(ev scheduler.Event) {
	s.after(message{s.other, ev})
}

// after has something reach the far side in a message's time, and not before what was sent earlier.
func (s *session) after(e happening) {
	w := s.node.w
	takes := w.latency(s.node, s.far)
	if late := w.cfg.Latency.Late; late > 0 {
		const skew = 4 // most are not late by much
		takes += scheduler.Time(float64(late) * math.Pow(w.random.Float64(), skew))
		takes = max(takes, s.sentUntil-w.now)
		s.sentUntil = w.now + takes
	}
	w.after(takes, e)
}

// A message reaches one side of a session.
type message struct {
	to *session
	ev scheduler.Event
}

func (m message) happen(w *world) {
	s := m.to
	if until, cut := w.partedUntil(s.node, s.far); cut {
		w.after(until-w.now, m) // it is sent again
		return
	}
	if s.open {
		s.receive(m.ev)
	}
}
