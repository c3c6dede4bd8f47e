package admission

import (
	"container/list"
	"context"
	"net"
	"net/netip"
	"sync"
	"time"
)

// DefaultHalfOpen is how many connections may be between accept and admission at once.
const DefaultHalfOpen = 256

// A Door bounds the connections that were accepted and are not admitted yet. When there are
// too many, one of the network with the most goes, the oldest: a flood pushes out itself, and
// not the member from elsewhere whose handshake takes long. The time of each connection runs from
// here to its admission, the negotiation before TLS included. It is safe for concurrent use.
type Door struct {
	limit   int
	timeout time.Duration

	mu      sync.Mutex
	order   *list.List // of *waiting, the oldest in front
	waiting map[net.Conn]*list.Element
	crowds  map[netip.Prefix]int // how many wait, of each network
}

type waiting struct {
	conn    net.Conn
	network netip.Prefix
	since   time.Time
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
	return &Door{
		limit: limit, timeout: timeout,
		order: list.New(), waiting: map[net.Conn]*list.Element{}, crowds: map[netip.Prefix]int{},
	}
}

// NetworkOf is what belongs to one host as far as others can tell: an IPv4 address, or the 64
// bits of an IPv6 address that are given to one network (RFC 4291, section 2.5.1).
func NetworkOf(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap()
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	network, _ := addr.Prefix(bits) // zero for no address
	return network
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
	var from netip.Addr
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		from = tcp.AddrPort().Addr()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	w := &waiting{conn: conn, network: NetworkOf(from), since: now}
	d.waiting[conn] = d.order.PushBack(w)
	d.crowds[w.network]++
	var out []net.Conn
	for front := d.order.Front(); now.Sub(of(front).since) >= d.timeout; front = d.order.Front() {
		out = append(out, d.remove(front))
	}
	if d.order.Len() > d.limit {
		out = append(out, d.remove(d.crowded()))
	}
	return out
}

// crowded is the oldest connection of the network with the most. Needs mu, and one that waits.
func (d *Door) crowded() *list.Element {
	most := d.order.Front()
	for e := most.Next(); e != nil; e = e.Next() {
		if d.crowds[of(e).network] > d.crowds[of(most).network] {
			most = e
		}
	}
	return most
}

// remove forgets a connection, which it returns. Needs mu.
func (d *Door) remove(e *list.Element) net.Conn {
	w := of(e)
	d.order.Remove(e)
	delete(d.waiting, w.conn)
	if d.crowds[w.network]--; d.crowds[w.network] == 0 {
		delete(d.crowds, w.network)
	}
	return w.conn
}

func of(e *list.Element) *waiting {
	return e.Value.(*waiting) //nolint:errcheck // the list holds nothing else
}

// within returns ctx with the end of the connection's time, which began when it entered, and
// ctx itself for a connection that it does not know.
func (d *Door) within(ctx context.Context, conn net.Conn) (context.Context, context.CancelFunc) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e, ok := d.waiting[conn]
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, of(e).since.Add(d.timeout))
}

// Leave forgets a connection whose handshake is over. A connection it does not know is ignored.
func (d *Door) Leave(conn net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e, ok := d.waiting[conn]; ok {
		d.remove(e)
	}
}

// Len is the number of connections that are noted, some of which may have failed already.
func (d *Door) Len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.order.Len()
}
