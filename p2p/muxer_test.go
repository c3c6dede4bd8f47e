package p2p

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

// A held conn passes on what is written only while it is let.
type heldConn struct {
	net.Conn
	mu   sync.Mutex
	held chan struct{} // closed while writes pass
}

func (c *heldConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	held := c.held
	c.mu.Unlock()
	<-held
	return c.Conn.Write(p)
}

// muxed returns a connection whose socket is stuck once hold is called, and the other end.
func muxed(t *testing.T) (from *muxedConn, to network.MuxedConn, hold func() (release func())) {
	t.Helper()
	a, b := net.Pipe()
	let := make(chan struct{})
	close(let)
	held := &heldConn{Conn: a, held: let}
	m := newMuxer()
	opened := make(chan network.MuxedConn)
	go func() {
		to, err := m.NewConn(b, true, nil)
		if err != nil {
			t.Error(err)
		}
		opened <- to
	}()
	conn, err := m.NewConn(held, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	from, ok := conn.(*muxedConn)
	if !ok {
		t.Fatalf("a %T", conn)
	}
	to = <-opened
	return from, to, func() func() {
		stuck := make(chan struct{})
		held.mu.Lock()
		held.held = stuck
		held.mu.Unlock()
		release := sync.OnceFunc(func() { close(stuck) })
		t.Cleanup(func() {
			release()
			_, _ = from.Close(), to.Close()
		})
		return release
	}
}

// open opens a stream, which the other side reads to its end.
func open(t *testing.T, from *muxedConn, to network.MuxedConn) (network.MuxedStream, <-chan int64) {
	t.Helper()
	s, err := from.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	other, err := to.AcceptStream()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(other, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	read := make(chan int64, 1)
	go func() {
		n, _ := io.Copy(io.Discard, other)
		read <- n
	}()
	return s, read
}

// await waits until so many writes wait for their turn.
func (l *line) await(writes int) {
	for _, waiting := l.lengths(); waiting != writes; _, waiting = l.lengths() {
		runtime.Gosched()
	}
}

func (l *line) lengths() (bytes, waiting int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.length, len(l.waiting)
}

// While the socket is stuck, large writes wait outside and small ones do not; each deadline is
// kept; and in the end everything came, in order, and the line is empty.
func TestTheLineIsShort(t *testing.T) {
	from, to, hold := muxed(t)
	bulk, bulkRead := open(t, from, to)
	other, otherRead := open(t, from, to)
	release := hold()
	if err := bulk.SetWriteDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte("shoal"), 1<<20)
	n, err := bulk.Write(big)
	if !errors.Is(err, os.ErrDeadlineExceeded) || n >= 2*lineLimit {
		t.Errorf("%d bytes were taken by a socket that is stuck, %v", n, err)
	}
	if n, err := other.Write([]byte("a message")); n != 9 || err != nil {
		t.Errorf("a message: %d, %v", n, err)
	}
	// Who waits when its deadline is moved goes by the new one.
	moved := make(chan error)
	if err := other.SetWriteDeadline(time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := other.Write(big)
		moved <- err
	}()
	from.line.await(1)
	if err := other.SetWriteDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if err := <-moved; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a deadline that was moved to the past: %v", err)
	}
	release()
	for _, s := range []network.MuxedStream{bulk, other} {
		if err := s.SetDeadline(time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	rest, err := bulk.Write(big)
	if rest != len(big) || err != nil {
		t.Errorf("%d bytes, %v", rest, err)
	}
	for _, s := range []network.MuxedStream{bulk, other} {
		if err := s.CloseWrite(); err != nil {
			t.Error(err)
		}
	}
	if got := <-bulkRead; got != int64(n+rest) {
		t.Errorf("%d bytes came of %d", got, n+rest)
	}
	if got := <-otherRead; got != 9 {
		t.Errorf("%d bytes came of a message of 9", got)
	}
	if length, waiting := from.line.lengths(); length != 0 || waiting != 0 {
		t.Errorf("%d bytes and %d writes are left in the line", length, waiting)
	}
}

// A connection that ends lets everybody go.
func TestTheLineOfADeadConnection(t *testing.T) {
	from, to, hold := muxed(t)
	s, _ := open(t, from, to)
	release := hold()
	ended := make(chan error)
	go func() {
		_, err := s.Write(make([]byte, 1<<20))
		ended <- err
	}()
	from.line.await(1)
	closed := make(chan error)
	go func() { closed <- from.Close() }()
	release()
	if err := <-ended; err == nil {
		t.Error("a write on a closed connection succeeded")
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
