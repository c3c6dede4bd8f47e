package scheduler

import "maps"

// A record is what is held against a peer of one blob. It outlives the session: who ends it and
// comes again stands where it stood.
type record struct {
	strikes    int  // asks in a row that it did not answer
	failing    Time // since when it only refuses or is silent; never: it does not
	restUntil  Time // it was busy or slow: ask nothing before
	discounted bool // what it has does not count: it does not deliver
	discounts  int  // how often
	owed       int  // chunks that it must deliver before it counts again
	doubted    bool // it says that it has all, and sent no chain
	hoards     bool // it says that it has much for one, and there is no chain: that does not count
	idleClaims int  // how often it changed what it reads since it last brought something
	cuts       int  // reads of this node's that it cut short since it last delivered
	unreached  int  // of those whom it named, how many could not be reached
	reached    int  // and how many could
}

const (
	// maxRecords bounds the peers whose records outlive their sessions.
	maxRecords = 1024
	// maxDiscounts bounds what a peer owes that was discounted again and again: 64 chunks.
	maxDiscounts = 6
	// maxUnreached is how many of those whom a peer names may be unreachable, if they are most.
	maxUnreached = 16
)

func newRecord() record { return record{failing: never} }

// keepRecord remembers what is held against a peer that leaves. One that leaves asks
// unanswered has failed once more.
func (m *Machine) keepRecord(s *swarm, p *peer) {
	r := p.record
	if p.asks > 0 {
		r.strikes++
		r.failing = min(r.failing, m.now)
		r.restUntil = max(r.restUntil, m.now+rest(r.strikes))
	}
	if s.proven || r == newRecord() {
		return
	}
	if len(s.records) >= maxRecords {
		maps.DeleteFunc(s.records, func(_ PeerID, r record) bool { return !r.discounted && !r.doubted && !r.hoards && r.restUntil <= m.now })
	}
	if len(s.records) < maxRecords {
		s.records[p.id] = r
	}
}

// recall is the record of a peer that comes, clean if it was not here before.
func (s *swarm) recall(id PeerID) record {
	r, known := s.records[id]
	if !known {
		return newRecord()
	}
	delete(s.records, id)
	return r
}

// rest is how long nothing is asked of a peer that did not answer so often in a row.
func rest(strikes int) Time { return second << min(strikes-1, 3) }

// boasts reports whether most of those whom a peer names cannot be reached.
func (r *record) boasts() bool { return r.unreached >= maxUnreached && r.unreached > r.reached }
