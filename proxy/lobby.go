package proxy

import (
	"container/list"
	"net"
	"net/http"
	"sync"
)

// A lobby bounds the connections of clients. When one more comes than there may be, the one
// that has waited longest for its client's next request makes room: a program that opens
// connections and says nothing on them pushes out its own, while a client with a question asks
// it at once. Nobody who is being served is pushed out; how many of those there may
// be is Config.MaxRequests, which is less. Safe for concurrent use.
type lobby struct {
	limit int

	mu      sync.Mutex
	waiting *list.List // of net.Conn, the one that began to wait first in front
	// open holds every connection: with its place in waiting, or nil while it is served.
	open map[net.Conn]*list.Element
}

func newLobby(limit int) *lobby {
	return &lobby{limit: limit, waiting: list.New(), open: make(map[net.Conn]*list.Element)}
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

// pushOut closes the connection that has waited longest, if one waits.
func (l *lobby) pushOut() bool {
	longest := l.waiting.Front()
	if longest == nil {
		return false
	}
	if c, ok := longest.Value.(net.Conn); ok {
		_ = c.Close() // its client had said nothing
		l.forget(c)
	}
	return true
}

func (l *lobby) forget(c net.Conn) {
	if place := l.open[c]; place != nil {
		l.waiting.Remove(place)
	}
	delete(l.open, c)
}
