package scheduler

import (
	"slices"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A read is one upstream read under way.
type read struct {
	id        ReadID
	next, end blob.ChunkIndex // what is still to come
	lastAt    Time            // of its latest chunk
	cancelled bool
}

// upstream is the registry as this blob's download knows it.
type upstream struct {
	known     bool
	refused   Fault // why it will not deliver until UpstreamKnown; FaultNone: it may
	refusedAt Time
	reads     []*read // in the order in which they began
	failures  int     // in a row
	failing   Time    // since when; never: it is not
	retryAt   Time
	rescues   int
	rescueAt  Time // the next rescue is not before
	idleSince Time
	dripAt    Time
}

// maxRescuePace is how many times faster than at first rescues may follow each other.
const maxRescuePace = 8

func newUpstream(known bool, now Time) upstream {
	return upstream{known: known, failing: never, idleSince: never, dripAt: now}
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

// read decides what to read from the registry now.
func (m *Machine) read(s *swarm) {
	m.endStalled(s)
	if !s.up.usable() || s.missing == 0 {
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
	m.steal(s)
	m.rescue(s)
}

// readGap reads the first gap to its end in one request: so a registry without Range
// works too. Gaps follow each other.
func (m *Machine) readGap(s *swarm) {
	if s.up.busy() > 0 {
		return
	}
	from, count := stretch(0, s.n, func(i blob.ChunkIndex) bool { return s.chunks[i].state == missing && s.chunks[i].ask == nil })
	if count > 0 {
		m.startRead(s, from, count)
	}
}

func (m *Machine) startRead(s *swarm, first, count blob.ChunkIndex) {
	m.lastRead++
	r := &read{id: m.lastRead, next: first, end: first + count, lastAt: m.now}
	s.up.reads = append(s.up.reads, r)
	for i := first; i < r.end; i++ {
		s.chunks[i].read = r.id
	}
	s.up.idleSince = never
	m.do(ReadUpstream{Blob: s.blob, Read: r.id, First: first, Count: count})
	m.wakeAt(s, m.now+m.readStall(s))
}

// readStall is how long a read may bring no chunk.
func (m *Machine) readStall(s *swarm) Time { return m.cfg.ReadStall + 16*s.slowChunk() }

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
	s.releaseRead(r)
	m.do(CancelRead{Blob: s.blob, Read: r.id})
}

func (s *swarm) releaseRead(r *read) {
	for i := r.next; i < r.end; i++ {
		if s.chunks[i].read == r.id {
			s.chunks[i].read = 0
		}
	}
}

// comingSoon reports whether an upstream read is about to bring the chunk. Of a read of
// a whole gap that is its current run only: peers may be asked for the rest.
func (m *Machine) comingSoon(s *swarm, i blob.ChunkIndex) bool {
	id := s.chunks[i].read
	if id == 0 {
		return false
	}
	r := s.up.find(id)
	if r == nil || s.mend.solo {
		return r != nil
	}
	_, end := m.bounds(s, s.runOf(r.next, m.cfg.Run))
	return i < end
}

// yieldReads ends the read of a whole gap, begun when this node was alone, where it
// comes to a run that the swarm has, or that is another's duty.
func (m *Machine) yieldReads(s *swarm) {
	self := rendezvousSeed(s.blob, m.cfg.Self)
	for _, r := range s.up.reads {
		k := s.runOf(r.next, m.cfg.Run)
		first, end := m.bounds(s, k)
		if r.cancelled || r.next != first || r.end <= end || !m.settled(s) {
			continue
		}
		needed := m.stand(s, k, self).free
		for i := first; i < end && needed; i++ {
			c := &s.chunks[i]
			needed = c.state == missing && c.ask == nil && !s.covered(i)
		}
		if !needed {
			m.cancelRead(s, r)
		}
	}
}

// rescue reads what peers claim to have and do not deliver, or deliver too slowly, one
// run now and then: a slow swarm must not become a stampede on the registry. A swarm
// that stays slow is relied on less and less.
func (m *Machine) rescue(s *swarm) {
	slow := m.slowSwarm(s)
	if s.up.busy() > 0 || s.missing == 0 {
		return
	}
	at := max(s.lastGain+m.patience(s), s.up.rescueAt)
	if slow {
		at = s.up.rescueAt
	}
	if m.now < at {
		m.wakeAt(s, at)
		return
	}
	var last, count blob.ChunkIndex
	for k := range s.runs {
		if s.proof.has {
			k = len(s.runs) - 1 - k
		}
		first, end := m.bounds(s, k)
		last, count = stretch(first, end, func(i blob.ChunkIndex) bool {
			return s.chunks[i].state == missing && s.chunks[i].read == 0 && s.holders[i] > 0
		})
		if count > 0 {
			break
		}
	}
	if count > 0 {
		s.up.rescues++
		s.up.rescueAt = m.now + m.cfg.RescueEvery/Time(min(s.up.rescues, maxRescuePace))
		m.startRead(s, last, count)
	}
}

// readProgressed records a chunk that upstream delivered.
func (m *Machine) readProgressed(s *swarm, ev ReadProgressed) {
	if !s.geometry.Valid(ev.Chunk) {
		return
	}
	m.upstreamWorks(s)
	if r := s.up.find(ev.Read); r != nil {
		for i := r.next; i <= min(ev.Chunk, r.end-1); i++ {
			if s.chunks[i].read == r.id {
				s.chunks[i].read = 0
			}
		}
		r.next, r.lastAt = max(r.next, ev.Chunk+1), m.now
	}
	if s.chunks[ev.Chunk].state == missing {
		m.gain(s, ev.Chunk, registry)
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

// drip has a chunk read now and then for clients that wait long, who may be given R
// bytes from the front on: containerd gives up after five minutes without a byte.
func (m *Machine) drip(s *swarm) {
	if s.waitedFrom == never || !s.up.usable() || s.proof.releasing {
		return
	}
	at := max(s.waitedFrom+m.cfg.DripAfter, s.up.dripAt, s.up.retryAt)
	if m.now < at {
		m.wakeAt(s, at)
		return
	}
	s.up.dripAt = m.now + m.cfg.DripEvery
	m.wakeAt(s, s.up.dripAt)
	for i := range s.n {
		c := &s.chunks[i]
		switch {
		case c.state == registry:
			continue
		case c.state == missing && c.read == 0:
			m.startRead(s, i, 1)
		case c.state == quarantined && !c.auditing:
			m.audit(s, i)
		}
		return
	}
}

// giveUp ends a download that cannot succeed, so that clients get the registry's own
// answer, or none, while they still listen.
func (m *Machine) giveUp(s *swarm) {
	u := &s.up
	if s.clientsOnly && s.waitedFrom == never {
		at := s.started + 2*m.cfg.GiveUpAfter
		if m.now >= at {
			m.abandon(s, FaultCancelled)
			return
		}
		m.wakeAt(s, at)
	}
	if s.missing == 0 && s.mend.stage == mendNothing || len(u.reads) > 0 {
		return
	}
	why, since := u.refused, max(u.refusedAt, s.started)
	switch {
	case !u.known:
		why = FaultNoSource
	case u.refused != FaultNone:
	case u.failing != never:
		why, since = FaultTransient, u.failing
	default:
		return
	}
	limit := m.cfg.GiveUpAfter
	switch {
	case m.anybody(s):
		limit *= 2
	case why != FaultTransient:
		m.abandon(s, why)
		return
	}
	if at := max(since, s.lastGain) + limit; m.now < at {
		m.wakeAt(s, at)
		return
	}
	m.abandon(s, why)
}
