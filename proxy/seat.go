package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

// patience is how long one write may take before its request counts as waiting for its client: it gives its
// place to another, and its connection too when there are too many. A client that reads takes 1 MiB at a time.
const patience = 2 * time.Second

// A seat is one connection of a client, and shows for how long the answer on it has been stuck. Safe for
// concurrent use; the zero value is ready.
type seat struct {
	mu sync.Mutex
	// since is when the write under way began; zero when none is.
	since time.Time
}

// write runs one write to the connection.
func (s *seat) write(do func()) {
	s.begin(time.Now())
	defer s.begin(time.Time{})
	do()
}

func (s *seat) begin(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.since = at
}

// stuck is how long the write under way has taken, and whether that is too long.
func (s *seat) stuck(now time.Time) (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		return 0, false
	}
	d := now.Sub(s.since)
	return d, d >= patience
}

// seatKey is the key of a connection's seat in the contexts of its requests.
type seatKey struct{}

// seatOf is the seat of a request; one of its own where no lobby gave its connection one.
func seatOf(ctx context.Context) *seat {
	if s, ok := ctx.Value(seatKey{}).(*seat); ok {
		return s
	}
	return &seat{}
}

// An outlet is a ResponseWriter whose writes show on a seat. It keeps sendfile and deadlines working.
type outlet struct {
	http.ResponseWriter
	seat *seat
}

// Write implements http.ResponseWriter.
func (o *outlet) Write(p []byte) (n int, err error) {
	o.seat.write(func() { n, err = o.ResponseWriter.Write(p) })
	return n, err
}

// ReadFrom implements io.ReaderFrom, through which a file reaches the connection by sendfile.
func (o *outlet) ReadFrom(src io.Reader) (n int64, err error) {
	to, ok := o.ResponseWriter.(io.ReaderFrom)
	if !ok {
		return io.Copy(struct{ io.Writer }{o}, src)
	}
	o.seat.write(func() { n, err = to.ReadFrom(src) })
	return n, err
}

// FlushError is for http.ResponseController.
func (o *outlet) FlushError() (err error) {
	o.seat.write(func() { err = http.NewResponseController(o.ResponseWriter).Flush() })
	if errors.Is(err, http.ErrNotSupported) {
		return nil // it sends when it sends
	}
	return err
}

// Unwrap is for http.ResponseController.
func (o *outlet) Unwrap() http.ResponseWriter { return o.ResponseWriter }

// places bounds the requests that are worked on. Safe for concurrent use.
type places struct {
	limit int

	mu    sync.Mutex
	taken map[*seat]struct{}
}

func newPlaces(limit int) *places { return &places{limit: limit, taken: make(map[*seat]struct{})} }

// take takes a place for the request on s, if there is one. When all are taken, requests that are stuck lose
// theirs: they go on when their clients read, and how many there are is bounded by the connections.
func (p *places) take(s *seat) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.taken) >= p.limit {
		now := time.Now()
		for other := range p.taken {
			if _, stuck := other.stuck(now); stuck {
				delete(p.taken, other)
			}
		}
	}
	if len(p.taken) >= p.limit {
		return false
	}
	p.taken[s] = struct{}{}
	return true
}

// leave gives the place of s back, if it still has one.
func (p *places) leave(s *seat) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.taken, s)
}
