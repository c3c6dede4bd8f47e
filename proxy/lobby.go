package proxy

import (
	"container/list"
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// A lobby bounds the connections of clients. When one more comes than there may be, the one
// that has waited longest for its client's next request makes room: a program that opens
// connections and says nothing on them pushes out its own, while a client with a question asks
// it at once. When nobody waits, whose answer has been stuck longest makes room: a client that
// reads is never pushed out. Safe for concurrent use.
type lobby struct {
	limit int

	mu      sync.Mutex
	waiting *list.List // of net.Conn, the one that began to wait first in front
	// open holds every connection: with its place in waiting, or nil while it is served.
	open map[net.Conn]*list.Element
	// seats shows how each connection that came is served.
	seats map[net.Conn]*seat
}

func newLobby(limit int) *lobby {
	return &lobby{limit: limit, waiting: list.New(), open: make(map[net.Conn]*list.Element), seats: make(map[net.Conn]*seat)}
}

// comes is an http.Server's ConnContext hook. The server calls it with every new connection, before moved.
func (l *lobby) comes(ctx context.Context, c net.Conn) context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &seat{}
	l.seats[c] = s
	return context.WithValue(ctx, seatKey{}, s)
}

// moved is an http.Server's ConnState hook. The server calls it in its accept loop with
// every new connection, before anything is read from it.
func (l *lobby) moved(c net.Conn, state http.ConnState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch state {
	case http.StateNew:
		if len(l.open) >= l.limit && !l.pushOut() {
			_ = c.Close() // nobody waits: each of them is about to be answered
			l.forget(c)
			return
		}
		l.open[c] = l.waiting.PushBack(c)
	case http.StateIdle:
		if place, known := l.open[c]; known && place == nil {
			l.open[c] = l.waiting.PushBack(c)
		}
	case http.StateActive:
		if place := l.open[c]; place != nil {
			l.waiting.Remove(place)
			l.open[c] = nil
		}
	case http.StateClosed, http.StateHijacked:
		l.forget(c)
	}
}

// pushOut closes the connection that has waited longest, else the one that has been stuck longest, if there is one.
func (l *lobby) pushOut() bool {
	var c net.Conn
	if longest := l.waiting.Front(); longest != nil {
		c, _ = longest.Value.(net.Conn)
	} else if c = l.longestStuck(time.Now()); c == nil {
		return false
	}
	_ = c.Close() // its client says nothing, or does not read
	l.forget(c)
	return true
}

// longestStuck is the connection whose client has not read for longest; nil when all do.
func (l *lobby) longestStuck(now time.Time) net.Conn {
	var longest net.Conn
	var most time.Duration
	for c := range l.open {
		if d, stuck := l.seats[c].stuck(now); stuck && d > most {
			longest, most = c, d
		}
	}
	return longest
}

func (l *lobby) forget(c net.Conn) {
	if place := l.open[c]; place != nil {
		l.waiting.Remove(place)
	}
	delete(l.open, c)
	delete(l.seats, c)
}
