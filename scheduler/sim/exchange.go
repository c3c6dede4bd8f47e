package sim

import (
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// receive keeps the exchange's book about a message and gives it to the Machine.
func (s *session) receive(ev scheduler.Event) {
	switch ev := ev.(type) { //nolint:gochecksumtype // all others pass as they are
	case scheduler.PeerHas:
		s.has.AddAll(ev.Chunks)
	case scheduler.PeerReads:
		if s.node.spec.Lies.has(ClaimsAhead) {
			s.claimAhead(ev.Spans)
		}
	case scheduler.PeerAsked:
		s.waits = append(s.waits, wait{chunk: ev.Chunk, since: s.node.w.now})
		s.node.waits++
		if s.node.lieToAsker(s, ev.Chunk) {
			return
		}
	case scheduler.PeerCancelled:
		if !s.takeBack(ev.Chunk) {
			return
		}
	case scheduler.PeerRefused:
		if !s.answered(ev.Chunk) {
			return // to an ask that was taken back
		}
	}
	s.node.step(ev)
}

// ask asks the far side for a chunk.
func (n *node) ask(a scheduler.AskPeer) {
	d := n.disk(a.Blob)
	s := d.session(n.w.byID[a.Peer])
	if n.checkAsk(d, s, a); n.w.err != nil {
		return
	}
	if s == nil { // a liar may lose count
		n.soon(scheduler.PeerRefused(a))
		return
	}
	d.asked[a.Chunk] = int32(s.far.number) + 1
	d.asks++
	if at := s.indexAsked(a.Chunk); at >= 0 {
		s.asked[at].owed++
		s.asked[at].wanted = true
	} else {
		s.asked = append(s.asked, asked{chunk: a.Chunk, owed: 1, wanted: true})
	}
	s.send(scheduler.PeerAsked{Blob: a.Blob, Peer: n.id, Chunk: a.Chunk})
}

func (s *session) indexAsked(i blob.ChunkIndex) int {
	return slices.IndexFunc(s.asked, func(a asked) bool { return a.chunk == i })
}

// wanting is how many chunks are asked of the far side.
func (s *session) wanting() int {
	n := 0
	for _, a := range s.asked {
		if a.wanted {
			n++
		}
	}
	return n
}

// answered notes an answer and reports whether it is to an ask that was not taken back.
func (s *session) answered(i blob.ChunkIndex) bool {
	at := s.indexAsked(i)
	if at < 0 {
		return false
	}
	a := &s.asked[at]
	if a.owed--; a.owed > 0 {
		return false // another answer is to come, and that is to the latest ask
	}
	wanted := a.wanted
	s.asked = slices.Delete(s.asked, at, at+1)
	if wanted {
		s.disk.forgetAsk(i)
	}
	return wanted
}

// fulfilled notes that a chunk came: whatever answer is still to come, nobody wants it.
func (s *session) fulfilled(i blob.ChunkIndex) {
	if at := s.indexAsked(i); at >= 0 && s.asked[at].wanted {
		s.asked[at].wanted = false
		s.disk.forgetAsk(i)
	}
}

func (d *disk) forgetAsk(i blob.ChunkIndex) {
	d.asked[i] = 0
	d.asks--
}

// cancelAsk tells the far side that a chunk is not wanted any more.
func (n *node) cancelAsk(a scheduler.CancelAsk) {
	d := n.disk(a.Blob)
	s := d.session(n.w.byID[a.Peer])
	if s == nil {
		return
	}
	at := s.indexAsked(a.Chunk)
	if at < 0 || !s.asked[at].wanted {
		n.checkCancel(d, a)
		return
	}
	s.asked[at].wanted = false
	d.forgetAsk(a.Chunk)
	s.send(scheduler.PeerCancelled{Blob: a.Blob, Peer: n.id, Chunk: a.Chunk})
}

// takeBack answers a cancel that comes in time with busy, and reports whether it did.
func (s *session) takeBack(i blob.ChunkIndex) bool {
	if !s.answer(i) {
		return false
	}
	if at := slices.Index(s.queue, i); at >= 0 {
		s.queue = slices.Delete(s.queue, at, at+1)
		s.node.uploads--
		s.node.soon(scheduler.UploadEnded{Blob: s.disk.digest(), Peer: s.far.id, Chunk: i})
	}
	s.send(scheduler.PeerRefused{Blob: s.disk.digest(), Peer: s.node.id, Chunk: i})
	return true
}

// answer notes that an ask of the far side is answered, or reports that it does not wait.
func (s *session) answer(i blob.ChunkIndex) bool {
	at := s.indexWait(i)
	if at < 0 {
		return false
	}
	s.waits = slices.Delete(s.waits, at, at+1)
	s.node.waits--
	return true
}

func (s *session) indexWait(i blob.ChunkIndex) int {
	return slices.IndexFunc(s.waits, func(x wait) bool { return x.chunk == i })
}

func (n *node) refuseBusy(a scheduler.RefuseBusy) {
	s := n.disk(a.Blob).session(n.w.byID[a.Peer])
	if s == nil {
		return
	}
	at := s.indexWait(a.Chunk)
	n.checkAnswer(s, at, a.Chunk)
	if at >= 0 && !s.waits[at].queued {
		s.refuse(a.Chunk)
	}
}

// refuse answers an ask with busy.
func (s *session) refuse(i blob.ChunkIndex) {
	s.answer(i)
	s.send(scheduler.PeerRefused{Blob: s.disk.digest(), Peer: s.node.id, Chunk: i})
}

// serve queues a chunk for the far side.
func (n *node) serve(a scheduler.Serve) {
	d := n.disk(a.Blob)
	s := d.session(n.w.byID[a.Peer])
	n.checkServe(d, a)
	if s == nil {
		n.soon(scheduler.UploadEnded(a))
		return
	}
	at := s.indexWait(a.Chunk)
	n.checkAnswer(s, at, a.Chunk)
	if at < 0 || s.waits[at].queued {
		n.soon(scheduler.UploadEnded(a))
		return
	}
	s.enqueue(at)
}

// enqueue puts a chunk that the far side waits for behind those that are queued already.
func (s *session) enqueue(at int) {
	s.waits[at].queued = true
	s.node.uploads++
	s.queue = append(s.queue, s.waits[at].chunk)
	s.sendNext()
}

// An upload is a chunk on its way to the far side.
type upload struct {
	session *session
	chunk   blob.ChunkIndex
	content content
	flow    *flow
}

// sendNext begins the next chunk of the queue if none is on its way. A cancel is too late then.
// What was dropped since it was queued is answered with busy, as the store opens nothing but R and V.
func (s *session) sendNext() {
	n := s.node
	for s.sending == nil && s.open && len(s.queue) > 0 {
		i := s.queue[0]
		s.queue = slices.Delete(s.queue, 0, 1)
		if n.spec.Lies == 0 && !s.disk.servable.Has(i) {
			n.uploads--
			n.soon(scheduler.UploadEnded{Blob: s.disk.digest(), Peer: s.far.id, Chunk: i})
			s.refuse(i)
			continue
		}
		s.answer(i)
		s.begin(i)
	}
}

// begin puts a chunk on its way.
func (s *session) begin(i blob.ChunkIndex) {
	n := s.node
	s.sending = &upload{session: s, chunk: i, content: n.sends(s.disk, i)}
	links := []*link{&n.up, &s.far.down}
	if n.throttle != nil {
		links = append(links, n.throttle)
	}
	if n.throttle != nil || s.far.spec.Lies.has(AskFlood) {
		n.w.after(patience(s.disk.length(i)), overdue{s.sending})
	}
	s.sending.flow = n.w.fabric.start(n.w.now, s.sending, s.disk.length(i), links...)
	s.sending.flow.frozen = n.w.parted(n, s.far)
}

const (
	// stall is how long the exchange lets a frame stand still,
	stall = 20 * second
	// and slowest the bytes a second that it must come with once that is over.
	slowest = 64 * blob.KiB
)

// patience is how long a chunk may take before its session is given up.
func patience(length blob.ByteCount) scheduler.Time {
	return stall + scheduler.Time(int64(length)*int64(second)/int64(slowest))
}

// overdue means that a chunk has taken longer than the exchange allows.
type overdue struct{ upload *upload }

func (e overdue) happen(w *world) {
	s := e.upload.session
	if s.sending != e.upload {
		return
	}
	s.other.left(scheduler.FaultTransient)
	w.after(w.latency(s.node, s.far), leaving{s, scheduler.FaultTransient})
}

// torn means that the bytes of a chunk were dropped or replaced while they were being sent: the
// store gives no more of them, and the session ends in the middle of a frame.
type torn struct{ upload *upload }

func (e torn) happen(w *world) {
	s := e.upload.session
	if s.sending != e.upload {
		return
	}
	w.after(w.latency(s.node, s.far), leaving{s.other, scheduler.FaultTransient})
	s.left(scheduler.FaultTransient)
}

// crossed means that the last byte of an upload has left.
func (u *upload) crossed(w *world, f *flow) {
	s := u.session
	w.fabric.stop(w.now, f)
	s.sending = nil
	s.node.uploads--
	if s.node.spec.Lies.has(CutOff) {
		s.disconnect()
		return
	}
	w.after(w.latency(s.node, s.far), arrived{s.other, u.chunk, u.content})
	s.node.step(scheduler.UploadEnded{Blob: s.disk.digest(), Peer: s.far.id, Chunk: u.chunk})
	s.sendNext()
}

// arrived means that a chunk came in whole.
type arrived struct {
	to      *session
	chunk   blob.ChunkIndex
	content content
}

func (e arrived) happen(w *world) {
	s, d := e.to, e.to.disk
	if until, cut := w.partedUntil(s.node, s.far); cut {
		w.after(until-w.now, e)
		return
	}
	if !s.open {
		return
	}
	s.answered(e.chunk)
	s.fulfilled(e.chunk)
	switch {
	case !d.downloading():
	case d.write(e.chunk, e.content, fromPeer):
		d.fromPeers += d.length(e.chunk)
		if e.content != 0 && s.node.spec.Lies == 0 {
			s.far.wrong++
		}
		s.node.step(scheduler.ChunkArrived{Blob: d.digest(), Peer: s.far.id, Chunk: e.chunk})
	default: // another was faster
		s.node.step(scheduler.PeerRefused{Blob: d.digest(), Peer: s.far.id, Chunk: e.chunk})
	}
}
