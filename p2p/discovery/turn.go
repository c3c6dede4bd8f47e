package discovery

import (
	"errors"
	"time"

	"golang.org/x/time/rate"
)

const (
	// messageRate is how many messages a second are taken from one peer, and messageBurst how
	// many at once: a node that starts announces all that it has to a neighbour. Who is behind
	// for as long as maxBehind asks too much: what it sends lies here unread meanwhile.
	messageRate, messageBurst = 500, 4096
	maxBehind                 = 10 * time.Second
)

var errGreedy = errors.New("it asks too much")

// A turn says when a stream's next message is taken.
type turn struct {
	limiter *rate.Limiter // the peer's
	behind  time.Time     // since when each message has had to wait; zero if the last had not
}

// next is how long a message that came now has to wait, or errGreedy.
func (t *turn) next(now time.Time) (time.Duration, error) {
	place := t.limiter.ReserveN(now, 1)
	wait := place.DelayFrom(now)
	switch {
	case wait == 0:
		t.behind = time.Time{}
	case t.behind.IsZero():
		t.behind = now
	}
	if wait > 0 && (wait > maxBehind || now.Sub(t.behind) > maxBehind) {
		place.CancelAt(now)
		return 0, errGreedy
	}
	return wait, nil
}
