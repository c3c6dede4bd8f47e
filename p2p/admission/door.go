package admission

import (
	"container/list"
	"net"
	"sync"
	"time"
)

// DefaultHalfOpen is how many connections may be between accept and admission at once.
const DefaultHalfOpen = 256

// A Door bounds the connections that were accepted and are not admitted yet. When there are
// too many, the oldest is closed: a member needs milliseconds to pass, so that a flood of idle
// connections pushes out itself. Each connection also carries a deadline, which covers the
// negotiation before TLS. It is safe for concurrent use.
type Door struct {
	limit   int
	timeout time.Duration

	mu      sync.Mutex
	order   *list.List // of *waiting, the oldest in front
	waiting map[net.Conn]*list.Element
}

type waiting struct {
	conn  net.Conn
	since time.Time
}

// NewDoor returns a door with room for limit connections, each for at most timeout. Zeros
// mean DefaultHalfOpen and DefaultTimeout.
func NewDoor(limit int, timeout time.Duration) *Door {
	if limit <= 0 {
		limit = DefaultHalfOpen
	}
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	return &Door{limit: limit, timeout: timeout, order: list.New(), waiting: map[net.Conn]*list.Element{}}
}

// Enter takes note of a connection that was just accepted and sets its deadline.
func (d *Door) Enter(conn net.Conn) error {
	now := time.Now()
	if err := conn.SetDeadline(now.Add(d.timeout)); err != nil {
		return err
	}
	for _, old := range d.enter(conn, now) {
		_ = old.Close()
	}
	return nil
}

// enter returns the connections that have to go.
func (d *Door) enter(conn net.Conn, now time.Time) []net.Conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []net.Conn
	for front := d.order.Front(); front != nil; front = d.order.Front() {
		w := front.Value.(*waiting) //nolint:errcheck // the list holds nothing else
		if now.Sub(w.since) < d.timeout && d.order.Len() < d.limit {
			break
		}
		out = append(out, w.conn)
		d.order.Remove(front)
		delete(d.waiting, w.conn)
	}
	d.waiting[conn] = d.order.PushBack(&waiting{conn: conn, since: now})
	return out
}

// Leave forgets a connection whose handshake is over. A connection it does not know is ignored.
func (d *Door) Leave(conn net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e, ok := d.waiting[conn]; ok {
		d.order.Remove(e)
		delete(d.waiting, conn)
	}
}

// Len is the number of connections that are noted, some of which may have failed already.
func (d *Door) Len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.order.Len()
}
