package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/shoal-project/shoal/pkg/upstream"
)

// While upstream is away, a credential opens what upstream let it have hours ago, and a tag means what
// it meant then. So no client may be able to make upstream seem away: that one request fails,
// because its answer is too long, its path hangs, a redirect leads nowhere or too much was asked
// for, says nothing. Before anything is served in upstream's place, upstream is asked what no client
// has a part in: GET /v2/ without a credential. Whatever it answers below 500, it is there.

const (
	// slowFailure is how long upstream must take to fail before it is not asked again for a
	// while: a refused connection costs nothing to try again, a time-out does.
	slowFailure = 250 * time.Millisecond
	// thereFor is how long upstream counts as there once it answered GET /v2/.
	thereFor = 2 * time.Second
	// lookShare is the part of Config.UpstreamTimeout that is left for GET /v2/: one of so many.
	lookShare = 5
	// maxSightings bounds the upstreams remembered; names come from clients.
	maxSightings = 256
)

// An unansweredError means that upstream gave no answer that can be passed on: it did not answer
// in time, not as a registry does, or with a status that says to come back later (5xx, 429, 408).
type unansweredError struct {
	registry string
	status   int   // 0 when no answer came
	cause    error // nil when one came
	// away says that upstream cannot be asked for anything now. Otherwise it is there, and what this
	// node knows must not stand in for its word.
	away bool
}

func (e *unansweredError) Error() string {
	if e.cause == nil {
		return fmt.Sprintf("%s answers %d", e.registry, e.status)
	}
	return fmt.Sprintf("ask %s: %v", e.registry, e.cause)
}

func (e *unansweredError) Unwrap() error { return e.cause }

// away reports whether a request was not answered because upstream cannot be asked for anything now.
func away(err error) bool {
	e, ok := errors.AsType[*unansweredError](err)
	return ok && e.away
}

// errAway is the cause of an error about a request that was not sent.
var errAway = errors.New("upstream did not answer a moment ago")

// comeBackLater reports whether a status says nothing about what was asked for.
func comeBackLater(status int) bool {
	return status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
}

// misanswered reports whether err is about an answer that came: whoever gave it is there.
func misanswered(err error) bool {
	_, invalid := errors.AsType[*upstream.InvalidResponseError](err)
	return invalid || errors.Is(err, upstream.ErrTooLong) || errors.Is(err, upstream.ErrRedirect)
}

// unanswered returns the error for a request that upstream answered with this status, or, if it is 0, not
// because of cause. It finds out whether upstream is away. It wraps errLeft when the client left meanwhile.
func (p *Proxy) unanswered(ctx context.Context, registry string, status int, cause error) error {
	gone := !misanswered(cause) && p.sightings.away(ctx, registry, func() sighting { return p.lookFor(ctx, registry) })
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", errLeft, context.Cause(ctx))
	}
	return &unansweredError{registry: registry, status: status, cause: cause, away: gone}
}

// askWait is how long a request to upstream may take; lookWait how long it may take to find out why it failed.
func (p *Proxy) askWait() time.Duration  { return p.config.UpstreamTimeout - p.lookWait() }
func (p *Proxy) lookWait() time.Duration { return p.config.UpstreamTimeout / lookShare }

// lookFor asks the registry what no client has a part in. It goes on when the client that was the first
// to wonder leaves: others may wait for the answer, and none of them may decide what it is.
func (p *Proxy) lookFor(ctx context.Context, registry string) sighting {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.lookWait())
	defer cancel()
	began := time.Now()
	res, err := p.deps.Upstream.Forward(limited, upstream.Request{
		Method: http.MethodGet, Endpoint: upstream.EndpointPing, Repository: upstream.Repository{Registry: registry},
	})
	s := sighting{slow: limited.Err() != nil || time.Since(began) >= slowFailure}
	if err == nil {
		_ = res.Body.Close() // its status is the answer
		s.away = res.StatusCode >= 500
	} else {
		s.away = !misanswered(err)
	}
	s.until = time.Now().Add(thereFor)
	if s.away {
		s.until = time.Now().Add(p.config.DownFor)
	}
	return s
}

// A sighting is what came of looking for a registry.
type sighting struct {
	away bool
	slow bool // it took long enough that other requests should not wait for the same
	// until is when it is to be looked for again.
	until time.Time
}

// A lookout is a sighting that may still be to come.
type lookout struct {
	seen     chan struct{} // closed when sighting is set
	sighting sighting
}

// settled reports whether the sighting has come.
func (l *lookout) settled() bool {
	select {
	case <-l.seen:
		return true
	default:
		return false
	}
}

// counts reports whether the sighting has come and still tells how things are.
func (l *lookout) counts() bool {
	return l != nil && l.settled() && time.Now().Before(l.sighting.until)
}

// sightings remembers for a few seconds which registries are away, so that a registry is looked for once
// however many requests fail, and not every request waits for the same time-out.
// Safe for concurrent use; bounded. The zero value is ready.
type sightings struct {
	mu   sync.Mutex
	last map[string]*lookout
}

// away reports whether the registry cannot be asked. It is looked for unless that was done a moment ago; of several
// that ask at once one looks. When ctx ends first it reports false.
func (s *sightings) away(ctx context.Context, registry string, look func() sighting) bool {
	at, first := s.lookout(registry)
	if first {
		defer close(at.seen)
		at.sighting = look()
		return at.sighting.away
	}
	select {
	case <-at.seen:
		return at.sighting.away
	case <-ctx.Done():
		return false
	}
}

// lookout returns what is known of the registry or being found out, else a new one that the caller must settle.
func (s *sightings) lookout(registry string) (_ *lookout, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := s.last[registry]; at != nil && (at.counts() || !at.settled()) {
		return at, false
	}
	if s.last == nil {
		s.last = make(map[string]*lookout)
	}
	if len(s.last) >= maxSightings {
		clear(s.last) // a hint only: who is forgotten is looked for again
	}
	at := &lookout{seen: make(chan struct{})}
	s.last[registry] = at
	return at, true
}

// down reports whether the registry was away a moment ago and slow to show it.
func (s *sightings) down(registry string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.last[registry]
	return at.counts() && at.sighting.away && at.sighting.slow
}

// answered notes that the registry is there after all.
func (s *sightings) answered(registry string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at := s.last[registry]; at.counts() && at.sighting.away {
		delete(s.last, registry)
	}
}
