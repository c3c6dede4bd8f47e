package proxy

import "sync/atomic"

// A Kind is what a request asked for.
type Kind uint8

// The kinds of requests.
const (
	KindOther Kind = iota
	KindPing
	KindManifest
	KindBlob
	KindTags
	KindReferrers
	kinds
)

func (k Kind) String() string {
	return [kinds]string{"other", "ping", "manifest", "blob", "tags", "referrers"}[k]
}

// An Outcome is how a request ended.
type Outcome uint8

// The outcomes of requests.
const (
	OutcomeServed       Outcome = iota // a whole answer; for a blob: every byte
	OutcomeStale                       // served although upstream could not be asked
	OutcomeUnauthorized                // 401 or 403 from upstream
	OutcomeNotFound                    // 404 from upstream, or no such route
	OutcomeRefused                     // the request itself was not acceptable
	OutcomeUnavailable                 // 503: nothing could be had
	OutcomeAborted                     // the body was cut after the headers, by this node
	OutcomeLeft                        // the client went away first
	outcomes
)

func (o Outcome) String() string {
	return [outcomes]string{
		"served", "stale", "unauthorized", "not-found", "refused", "unavailable", "aborted", "left",
	}[o]
}

// counters counts since the start of the process. Safe for concurrent use.
type counters struct {
	requests [kinds][outcomes]atomic.Uint64
	sent     atomic.Uint64
	direct   atomic.Uint64
}

// A Count is the number of requests of one kind that had one outcome.
type Count struct {
	Kind    Kind
	Outcome Outcome
	N       uint64
}

// Counts is a reading of the proxy's counters, all of which only grow.
type Counts struct {
	Requests []Count // one for each kind and outcome, in that order, zeros included
	// SentBytes is the bytes of bodies written to clients.
	SentBytes uint64
	// DirectBytes is the part of them that was read from upstream for that one client: ranges of
	// lazy loaders and digests other than SHA-256.
	DirectBytes uint64
}

// Counts reads the counters. Safe for concurrent use.
func (p *Proxy) Counts() Counts {
	out := Counts{
		Requests:    make([]Count, 0, int(kinds)*int(outcomes)),
		SentBytes:   p.counters.sent.Load(),
		DirectBytes: p.counters.direct.Load(),
	}
	for k := range kinds {
		for o := range outcomes {
			out.Requests = append(out.Requests, Count{Kind: k, Outcome: o, N: p.counters.requests[k][o].Load()})
		}
	}
	return out
}
