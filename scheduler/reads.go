package scheduler

import (
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A read is one upstream read under way.
type read struct {
	id        ReadID
	next, end blob.ChunkIndex // what is still to come
	from      blob.ChunkIndex // where it entered the run in which it is
	soon      blob.ChunkIndex // the end of that run: peers may be asked for what comes later
	asked     blob.ChunkIndex // the end of what was asked for; it is ended at end if that comes first
	lastAt    Time            // of its latest chunk
	cancelled bool
}

// upstream is the registry as this blob's download knows it.
type upstream struct {
	known     bool
	whole     bool  // the registry ignores Range
	refused   Fault // why it will not deliver until UpstreamKnown; FaultNone: it may
	refusedAt Time
	reads     []*read // in the order in which they began
	failures  int     // in a row
	failing   Time    // since when; never: it is not
	retryAt   Time
	pace      Time // of one chunk, smoothed
	rescues   int
	rescueAt  Time           // the next rescue is not before
	idleSince Time           // when the latest read ended, or somebody's was given up
	shareFrom Time           // since when there is a run to be shared; never: there is none
	head      blob.ByteCount // read for clients alone
	heading   bool           // and more is being read
	dripAt    Time           // the next time is not before
}

const (
	// maxRescuePace is how many times faster than at first rescues may follow each other.
	maxRescuePace = 8
	// refusedWait is how long a node goes without where everybody whom it asks is busy. One who is
	// silent may be about to deliver; there nobody is.
	refusedWait = second
)

func newUpstream(known bool, now Time) upstream {
	return upstream{known: known, failing: never, idleSince: -never, shareFrom: never, dripAt: now}
}

// usable reports whether a registry is known that has not refused.
func (u *upstream) usable() bool { return u.known && u.refused == FaultNone }

// busy is how many reads go on, those taken back not counted.
func (u *upstream) busy() int {
	n := 0
	for _, r := range u.reads {
		if !r.cancelled {
			n++
		}
	}
	return n
}

func (u *upstream) find(id ReadID) *read {
	for _, r := range u.reads {
		if r.id == id {
			return r
		}
	}
	return nil
}

func (m *Machine) upstreamKnown(s *swarm) {
	s.up.known, s.up.refused, s.up.failures, s.up.failing, s.up.retryAt = true, FaultNone, 0, never, 0
}

// upstreamWhole learns that parts cost as much as the whole: one node reads it for all.
func (m *Machine) upstreamWhole(s *swarm) {
	if s.proven || s.up.whole {
		return
	}
	s.up.whole = true
	if len(s.sorted) == 0 {
		return
	}
	for _, r := range s.up.reads {
		if r.next > 0 {
			m.cancelRead(s, r)
		}
	}
}

// read decides what to read from the registry now.
func (m *Machine) read(s *swarm) {
	m.endStalled(s)
	if s.missing == 0 {
		for _, r := range s.up.reads {
			if r.next < r.end { // peers brought what it was for
				m.cancelRead(s, r)
			}
		}
		return
	}
	if !s.up.usable() {
		return
	}
	if m.now < s.up.retryAt {
		m.wakeAt(s, s.up.retryAt)
		return
	}
	if s.mend.solo || m.alone(s) {
		m.readGap(s)
		return
	}
	if len(s.sorted) == 0 { // waiting for the first look
		m.wakeAt(s, s.started+m.lookupWait(s))
		return
	}
	m.yieldReads(s)
	m.duties(s)
	m.rescue(s)
}

// readGap reads the first gap to its end in one request: so a registry without Range
// works too. Gaps follow each other.
func (m *Machine) readGap(s *swarm) {
	if s.up.busy() > 0 || !m.roomToRead(s) {
		return
	}
	from, count := stretch(0, s.n, func(i blob.ChunkIndex) bool { return s.chunks[i].state == missing && s.chunks[i].ask == nil })
	if count > 0 {
		m.startRead(s, from, count)
	}
}

func (m *Machine) startRead(s *swarm, first, count blob.ChunkIndex) {
	if s.up.whole { // everything behind it goes by for nothing
		count = s.endOfMissing() - first
	}
	m.lastRead++
	r := &read{id: m.lastRead, next: first, end: first + count, asked: first + count, lastAt: m.now}
	s.up.reads = append(s.up.reads, r)
	for i := first; i < r.end; i++ {
		s.chunks[i].read = r.id
	}
	s.enterRun(r)
	m.do(ReadUpstream{Blob: s.blob, Read: r.id, First: first, Count: count})
	m.wakeAt(s, m.now+m.readStall(s))
}

// endOfMissing is the end of the last chunk that is not here.
func (s *swarm) endOfMissing() blob.ChunkIndex {
	end := s.n
	for end > 0 && s.chunks[end-1].state != missing {
		end--
	}
	return end
}

// enterRun notes that a read comes to the run of its next chunk.
func (s *swarm) enterRun(r *read) {
	r.from = r.next
	r.soon = r.next
	if r.next < r.end {
		r.soon = min(s.endOf(r.next), r.end)
	}
	for i := r.from; i < r.soon; i++ {
		s.refresh(i)
	}
}

// cutRead has a read end before chunk end. What it was to bring of the rest may come from
// elsewhere at once.
func (s *swarm) cutRead(r *read, end blob.ChunkIndex) {
	was := r.end
	r.end, r.soon = end, min(r.soon, end)
	s.release(r, end, was)
}

// free reports whether no upstream read under way was asked for the chunk, be it that the
// rest of that one was left to others.
func (s *swarm) free(i blob.ChunkIndex) bool {
	return !slices.ContainsFunc(s.up.reads, func(r *read) bool { return !r.cancelled && r.next <= i && i < r.asked })
}

// readStall is how long a read may bring no chunk: long enough for 8 KiB a second.
func (m *Machine) readStall(s *swarm) Time {
	return m.cfg.ReadStall + Time(int64(s.geometry.ChunkSize())*int64(second)/int64(8*blob.KiB))
}

// endStalled ends reads that bring nothing.
func (m *Machine) endStalled(s *swarm) {
	for _, r := range s.up.reads {
		if r.cancelled {
			continue
		}
		if at := r.lastAt + m.readStall(s); m.now < at {
			m.wakeAt(s, at)
			continue
		}
		m.cancelRead(s, r)
		m.upstreamFault(s, FaultTransient)
	}
}

// cancelRead takes a read back. Its chunks may come from elsewhere at once.
func (m *Machine) cancelRead(s *swarm, r *read) {
	if r.cancelled {
		return
	}
	r.cancelled = true
	m.readFreed()
	s.releaseRead(r)
	m.do(CancelRead{Blob: s.blob, Read: r.id})
}

// readFreed has every download planned anew: one may have waited for a read to end.
func (m *Machine) readFreed() {
	for _, s := range m.order {
		s.dirty = s.dirty || !s.proven && s.missing > 0
	}
}

func (s *swarm) releaseRead(r *read) { s.release(r, r.next, r.end) }

func (s *swarm) release(r *read, from, end blob.ChunkIndex) {
	for i := from; i < end; i++ {
		if s.chunks[i].read == r.id {
			s.chunks[i].read = 0
			s.refresh(i)
		}
	}
}

// comingSoon reports whether an upstream read is about to bring the chunk. Of a read of
// a whole gap that is its current run only: peers may be asked for the rest.
func (s *swarm) comingSoon(i blob.ChunkIndex) bool {
	id := s.chunks[i].read
	if id == 0 {
		return false
	}
	r := s.up.find(id)
	return r != nil && (s.mend.solo || i < r.soon)
}

// yieldReads ends the read of a whole gap, begun when this node was alone, where it
// comes to a run that the swarm has, or that others read.
func (m *Machine) yieldReads(s *swarm) {
	for _, r := range s.up.reads {
		first, end := s.runOf(r.next), s.endOf(r.next)
		if r.cancelled || r.next != first || r.end <= end || s.up.whole || !m.settled(s) {
			continue
		}
		claimed := m.claimed(s)
		for i := first; i < end; i++ {
			if s.chunks[i].state != missing || s.chunks[i].ask != nil || s.covered.Has(i) || claimed.Has(i) {
				m.cancelRead(s, r)
				break
			}
		}
	}
}

// rescue reads what peers claim to have and do not deliver, or deliver too slowly, one
// run now and then: a slow swarm must not become a stampede on the registry. A swarm
// that stays slow is relied on less and less.
func (m *Machine) rescue(s *swarm) {
	// Where this node's own link is what is slow, upstream is no help.
	slow := m.slowSwarm(s) && 2*s.up.pace < s.slowChunk() && !s.up.whole // and there it would be the whole blob once more
	if s.up.busy() > 0 || s.missing == 0 || !m.roomToRead(s) {
		return
	}
	wait := max(m.patience(s), s.asks.p95)
	if s.refused() {
		wait = refusedWait
	}
	wait += m.lineWait(s)
	// While other blobs gain, it is this node's link that has no room for this one yet.
	const busy = 4
	at := max(s.lastGain+wait, min(m.lastGain+wait, s.lastGain+busy*wait), s.up.rescueAt)
	if slow {
		at = s.up.rescueAt
	}
	if m.now < at {
		m.wakeAt(s, at)
		return
	}
	if !slow {
		m.discountAll(s)
	}
	if x := m.overdue(s); x.Count > 0 {
		s.up.rescues++
		s.up.rescueAt = m.now + m.cfg.RescueEvery/Time(min(s.up.rescues, maxRescuePace))
		m.startRead(s, x.First, x.Count)
	}
}

// refused reports whether every peer that was asked said that it is busy.
func (s *swarm) refused() bool {
	return len(s.asks.open) == 0 && slices.ContainsFunc(s.sorted, func(p *peer) bool { return p.refusals > 0 })
}

// overdue is a stretch that the swarm has had for long and did not deliver. Ranks keep
// those apart who wait for the same.
func (m *Machine) overdue(s *swarm) Span {
	const steps = 16
	wait := m.patience(s)
	claimed := m.claimed(s)
	for at := blob.ChunkIndex(0); at < s.n; at += s.run {
		k := at
		if s.proof.has {
			k = s.runOf(s.n - 1 - at)
		}
		since := Time(0)
		from, count := stretch(k, s.endOf(k), func(i blob.ChunkIndex) bool {
			c := &s.chunks[i]
			if c.state != missing || !s.free(i) || !s.covered.Has(i) || claimed.Has(i) {
				return false
			}
			since = max(since, c.coveredAt)
			return true
		})
		if count == 0 {
			continue
		}
		if at := since + wait + Time(min(m.rank(s, k), steps))*second; m.now < at {
			m.wakeAt(s, at)
			continue
		}
		return Span{from, count}
	}
	return Span{}
}

// readProgressed records a chunk that upstream delivered.
func (m *Machine) readProgressed(s *swarm, ev ReadProgressed) {
	if !s.geometry.Valid(ev.Chunk) {
		return
	}
	m.upstreamWorks(s)
	if r := s.up.find(ev.Read); r != nil {
		m.readCame(s, r, ev.Chunk)
	}
	if s.chunks[ev.Chunk].state == missing {
		m.gain(s, ev.Chunk, registry)
	}
}

// readCame moves a read on past a chunk that it brought.
func (m *Machine) readCame(s *swarm, r *read, i blob.ChunkIndex) {
	from := r.next
	r.next = max(r.next, min(i+1, r.end))
	s.release(r, from, r.next)
	if !r.cancelled {
		s.claims.pace = smooth(s.claims.pace, m.now-r.lastAt)
		s.up.pace = smooth(s.up.pace, m.now-r.lastAt)
	}
	r.lastAt = m.now
	switch {
	case r.cancelled:
	case r.next >= r.end && r.end < r.asked:
		m.cancelRead(s, r)
	case r.next >= r.soon:
		s.enterRun(r)
	}
}

func (m *Machine) upstreamWorks(s *swarm) {
	s.up.failures, s.up.failing, s.up.retryAt = 0, never, 0
}

// readEnded takes the end of a read; what did not come is planned anew.
func (m *Machine) readEnded(s *swarm, ev ReadEnded) {
	r := s.up.find(ev.Read)
	if r == nil {
		return
	}
	s.up.reads = slices.DeleteFunc(s.up.reads, func(x *read) bool { return x == r })
	s.releaseRead(r)
	m.readFreed()
	s.up.idleSince = m.now
	why := ev.Why
	switch {
	case r.cancelled && why == FaultCancelled:
		return
	case why == FaultNone && r.next < r.end && s.lacksAny(r.next, r.end):
		why = FaultTransient // it says that it is done, and is not: do not spin
	}
	m.upstreamFault(s, why)
}

func (s *swarm) lacksAny(from, end blob.ChunkIndex) bool {
	for i := from; i < end; i++ {
		if s.chunks[i].state == missing && s.chunks[i].ask == nil {
			return true
		}
	}
	return false
}

// upstreamFault records what an attempt at the registry came to.
func (m *Machine) upstreamFault(s *swarm, why Fault) {
	u := &s.up
	switch why {
	case FaultNone:
		m.upstreamWorks(s)
	case FaultDisk:
		m.abandon(s, FaultDisk)
	case FaultGone, FaultUnauthorized:
		u.refused, u.refusedAt = why, m.now
	case FaultCancelled, FaultTransient, FaultMisbehaved, FaultNoSource, FaultMismatch:
		if u.failing == never {
			u.failing = m.now
		}
		pause := min(m.cfg.RetryMin<<min(u.failures, 16), m.cfg.RetryMax)
		u.failures++
		u.retryAt = m.now + pause/2 + Time(m.random.Int64N(int64(pause/2)+1))
	}
}
