package exchange

import (
	"context"
	"errors"
	"fmt"

	"github.com/libp2p/go-libp2p/core/peer"
)

// A slot is what there is for one peer and blob. A session comes from one of two streams: one
// that this node opens or one that the peer opens. When both do at once, the stream of the
// smaller peer ID wins: the other node gives its own up as soon as it has seen the winner's
// Hello. Owned by Exchange.mu.
//
// A peer's stream that finds the slot taken waits, for as long as a Hello may take. Either the
// peer gives it up (the two crossed), or what holds the slot is about to end.
type slot struct {
	outgoing *attempt // of Connect
	incoming *attempt // of a peer's stream that is being answered
	waiting  *attempt // of a peer's stream that is not yet
	session  *session // until Left has returned
	changed  chan struct{}
}

// An attempt is a stream that may become a session.
type attempt struct {
	cancel context.CancelCauseFunc
	place  *place
}

// errSupplanted ends an attempt in favour of the peer's own stream, or of a newer one.
var errSupplanted = errors.New("the peer's other stream is taken")

// at returns the slot of k, a new one if there is none. change must follow. Needs e.mu.
func (e *Exchange) at(k key) *slot {
	s := e.slots[k]
	if s == nil {
		s = &slot{changed: make(chan struct{})}
		e.slots[k] = s
	}
	return s
}

// change wakes who waits for the slot, and drops it once it is empty. Needs e.mu.
func (e *Exchange) change(k key, s *slot) {
	close(s.changed)
	s.changed = make(chan struct{})
	if s.outgoing == nil && s.incoming == nil && s.waiting == nil && s.session == nil {
		delete(e.slots, k)
	}
}

// claim takes the slot for a Connect. It returns an attempt, whose context ends with ctx, if the
// caller is to open a stream; a channel if it is to wait and try again; and neither if there is
// a session, or an error.
func (e *Exchange) claim(ctx context.Context, k key) (context.Context, *attempt, <-chan struct{}, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, nil, nil, ErrClosed
	}
	s := e.slots[k]
	switch {
	case s == nil:
		s = e.at(k)
	case s.session != nil && s.session.isOpen():
		return nil, nil, nil, nil
	case s.session != nil || s.outgoing != nil || s.incoming != nil:
		return nil, nil, s.changed, nil
	}
	ctx, a, err := e.begin(ctx, k.peer)
	if err == nil {
		s.outgoing = a
	}
	e.change(k, s)
	return ctx, a, nil, err
}

// arrive takes a place for a peer's stream, and counts its handler.
func (e *Exchange) arrive(ctx context.Context, p peer.ID) (context.Context, *attempt, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, nil, ErrClosed
	}
	ctx, a, err := e.begin(ctx, p)
	if err == nil {
		e.wg.Add(1)
	}
	return ctx, a, err
}

// begin takes a place and makes an attempt. Needs e.mu.
func (e *Exchange) begin(ctx context.Context, p peer.ID) (context.Context, *attempt, error) {
	pl, err := e.take(p)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	a := &attempt{cancel: cancel, place: pl}
	pl.end = func() { cancel(ErrTooMany) }
	e.attempts[a] = struct{}{}
	return ctx, a, nil
}

// finishAttempt forgets an attempt, whatever became of it. The place stays taken.
func (e *Exchange) finishAttempt(a *attempt) {
	e.mu.Lock()
	defer e.mu.Unlock()
	a.cancel(nil)
	delete(e.attempts, a)
}

// commit takes the slot for a peer's stream, and waits until that is possible.
func (e *Exchange) commit(ctx context.Context, k key, a *attempt) error {
	for {
		changed := e.tryCommit(k, a)
		if changed == nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			e.leave(k, a)
			return fmt.Errorf("wait for the other session with the peer: %w", context.Cause(ctx))
		}
	}
}

func (e *Exchange) tryCommit(k key, a *attempt) <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.at(k)
	theirs := k.peer < e.host.ID() // whose stream wins
	if s.session != nil || s.incoming != nil || s.outgoing != nil && !theirs {
		if s.waiting != nil && s.waiting != a {
			s.waiting.cancel(errSupplanted) // the peer has no use for two
		}
		s.waiting = a
		return s.changed
	}
	if s.waiting == a {
		s.waiting = nil
	}
	if s.outgoing != nil {
		s.outgoing.cancel(errSupplanted)
		s.outgoing = nil
	}
	s.incoming = a
	e.change(k, s)
	return nil
}

// leave gives up what the attempt holds of the slot.
func (e *Exchange) leave(k key, a *attempt) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.slots[k]
	if s == nil {
		return
	}
	for _, held := range []**attempt{&s.outgoing, &s.incoming, &s.waiting} {
		if *held == a {
			*held = nil
		}
	}
	e.change(k, s)
}

// establish turns the attempt into a session, unless it was supplanted or lost its place meanwhile.
func (e *Exchange) establish(k key, a *attempt, session *session) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := e.slots[k]
	switch {
	case e.closed:
		return ErrClosed
	case s == nil || s.outgoing != a && s.incoming != a:
		return errSupplanted
	case a.place.free:
		return ErrTooMany
	}
	a.place.end = func() { session.end(ErrTooMany, codeTooMany) }
	s.outgoing, s.incoming, s.session = nil, nil, session
	e.wg.Add(1) // run is done with it
	e.change(k, s)
	return nil
}

// joined opens the session for those who wait for it in Connect.
func (e *Exchange) joined(s *session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s.open()
	e.change(s.key, e.slots[s.key])
}

// forget frees the slot of a session that is over.
func (e *Exchange) forget(s *session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	held := e.slots[s.key]
	held.session = nil
	e.change(s.key, held)
}
