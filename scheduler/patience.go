package scheduler

import "github.com/shoal-project/shoal/pkg/blob"

// headStep is by how much the head grows. The proxy gives clients such a piece byte by byte.
const headStep = 64 * blob.KiB

// drip has a little of the front read for clients that wait long and have nothing: containerd
// gives up after five minutes without a byte.
func (m *Machine) drip(s *swarm) {
	u := &s.up
	if s.waitedFrom == never || !u.usable() || s.proof.releasing || u.heading || s.chunks[0].state == registry {
		return
	}
	if !m.due(s, max(s.waitedFrom+m.cfg.DripAfter, u.dripAt, u.retryAt)) {
		return
	}
	length := min(u.head+headStep, s.geometry.Length(0))
	if length == u.head {
		return
	}
	u.heading = true
	m.do(ReadHead{Blob: s.blob, Length: length})
}

// headRead takes the end of a ReadHead.
func (m *Machine) headRead(s *swarm, why Fault) {
	u := &s.up
	if !u.heading {
		return
	}
	u.heading = false
	if why != FaultNone {
		m.upstreamFault(s, why)
		return
	}
	u.head = min(u.head+headStep, s.geometry.Length(0))
	u.dripAt = m.now + m.cfg.DripEvery
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
	if s.missing == 0 && !s.mend.active || len(u.reads) > 0 {
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
