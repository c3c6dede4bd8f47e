package p2p

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	"pgregory.net/rapid"
)

// link returns a connection to a node with the muxer, and the node's end of it.
func link(t *testing.T, here muxer) (far, near network.MuxedConn) {
	t.Helper()
	a, b := net.Pipe()
	opened := make(chan network.MuxedConn, 1)
	go func() {
		c, err := here.NewConn(b, true, nil)
		if err != nil {
			t.Error(err)
		}
		opened <- c
	}()
	far, err := newMuxer().NewConn(a, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	near = <-opened
	t.Cleanup(func() { _, _ = far.Close(), near.Close() })
	return far, near
}

func (u *unread) now() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.total
}

// until waits until so much is unread.
func (u *unread) until(is func(total int) bool) {
	for !is(u.now()) {
		runtime.Gosched()
	}
}

// fill opens streams, which it accepts, and then writes to them. The function that it returns
// reads them all to their ends; until then nobody does.
func fill(t *testing.T, far, near network.MuxedConn, streams, bytesEach int) (drain func()) {
	t.Helper()
	from, to := make([]network.MuxedStream, streams), make([]network.MuxedStream, streams)
	for i := range streams {
		var err error
		if from[i], err = far.OpenStream(t.Context()); err != nil {
			t.Fatal(err)
		}
		if to[i], err = near.AcceptStream(); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for _, s := range from {
		wg.Go(func() {
			if _, err := s.Write(make([]byte, bytesEach)); err != nil {
				t.Error(err)
			}
			if err := s.CloseWrite(); err != nil {
				t.Error(err)
			}
		})
	}
	return func() {
		for _, s := range to {
			wg.Go(func() {
				if n, err := io.Copy(io.Discard, s); err != nil || n != int64(bytesEach) {
					t.Errorf("%d bytes came, want %d: %v", n, bytesEach, err)
				}
			})
		}
		wg.Wait()
	}
}

// However many members send on however many streams, what nobody reads is bounded; and once it is
// read, all of it comes.
func TestUnreadIsBounded(t *testing.T) {
	const conns, streams, each, limit = 6, 12, 200 << 10, 1 << 20
	m := newMuxer()
	m.unread.limit = limit
	drains := make([]func(), 0, conns)
	for range conns {
		far, near := link(t, m)
		drains = append(drains, fill(t, far, near, streams, each))
	}
	m.unread.until(func(total int) bool { return total > limit-unreadFree })
	if total, most := m.unread.now(), limit+conns*unreadFree; total > most {
		t.Errorf("%d bytes are unread, want %d at most", total, most)
	}
	// A member whose words are heard is not held up.
	far, near := link(t, m)
	fill(t, far, near, 1, 4*limit)()

	var wg sync.WaitGroup
	for _, drain := range drains {
		wg.Go(drain)
	}
	wg.Wait()
	if total := m.unread.now(); total != 0 {
		t.Errorf("all was read, and %d bytes are unread", total)
	}
}

// One connection does not have all of it.
func TestUnreadOfOneConnection(t *testing.T) {
	const streams, each = 100, 250 << 10
	m := newMuxer()
	far, near := link(t, m)
	drain := fill(t, far, near, streams, each)
	m.unread.until(func(total int) bool { return total > unreadConn-unreadFree })
	if total := m.unread.now(); total > unreadConn {
		t.Errorf("%d bytes of one connection are unread, want %d at most", total, unreadConn)
	}
	drain()
}

// What is unread of a stream or a connection that is over counts no more.
func TestUnreadEndsWithItsStream(t *testing.T) {
	const each = 100 << 10
	for name, end := range map[string]func(network.MuxedConn, network.MuxedStream) error{
		"close":                    func(_ network.MuxedConn, s network.MuxedStream) error { return s.Close() },
		"reset":                    func(_ network.MuxedConn, s network.MuxedStream) error { return s.Reset() },
		"reset with an error":      func(_ network.MuxedConn, s network.MuxedStream) error { return s.ResetWithError(1) },
		"closed twice":             func(_ network.MuxedConn, s network.MuxedStream) error { _ = s.Reset(); return s.Close() },
		"the end of a connection":  func(c network.MuxedConn, _ network.MuxedStream) error { return c.Close() },
		"a stream after that, too": func(c network.MuxedConn, s network.MuxedStream) error { _ = c.Close(); return s.Reset() },
	} {
		m := newMuxer()
		far, near := link(t, m)
		from, err := near.OpenStream(t.Context()) // whoever opened it
		if err != nil {
			t.Fatal(err)
		}
		if _, err := from.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		there, err := far.AcceptStream()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := there.Write(make([]byte, each)); err != nil {
			t.Fatal(err)
		}
		m.unread.until(func(total int) bool { return total == each })
		_ = end(near, from)
		m.unread.until(func(total int) bool { return total == 0 })
		_, _ = there.Write(make([]byte, 1)) // thrown away
		if total := m.unread.now(); total != 0 {
			t.Errorf("%s: %d bytes are unread", name, total)
		}
	}
}

// A stream that the muxer refuses before anybody here is given it counts no more.
func TestUnreadOfRefusedStream(t *testing.T) {
	in := newInbox(newUnread())
	c := &countedConn{Conn: discard{}, line: &line{}, in: follower{inbox: in}}
	c.in.follow(append(headerOf(dataFrame, flagSYN, 7, 3), 1, 2, 3))
	if in.total != 3 {
		t.Fatalf("%d bytes are unread", in.total)
	}
	if _, err := c.Write(headerOf(1, flagRST, 7, 0)); err != nil {
		t.Fatal(err)
	}
	if in.total != 0 || len(in.streams) != 0 {
		t.Errorf("%d bytes of %d streams are unread", in.total, len(in.streams))
	}
}

type discard struct{ net.Conn }

func (discard) Write(p []byte) (int, error) { return len(p), nil }

func headerOf(kind byte, flags uint16, stream, length uint32) []byte {
	h := []byte{0, kind}
	h = binary.BigEndian.AppendUint16(h, flags)
	h = binary.BigEndian.AppendUint32(h, stream)
	return binary.BigEndian.AppendUint32(h, length)
}

// However the bytes are cut, data is counted as such, and nothing else is.
func TestFollowerCountsData(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var raw bytes.Buffer
		want := map[uint32]int{}
		for range rapid.IntRange(1, 20).Draw(t, "frames") {
			kind := rapid.ByteRange(0, 3).Draw(t, "kind") // data, window, ping, goaway
			id := rapid.Uint32Range(1, 4).Draw(t, "stream")
			flags := rapid.SampledFrom([]uint16{0, flagSYN, flagRST}).Draw(t, "flags")
			length := rapid.Uint32Range(0, 300).Draw(t, "length")
			raw.Write(headerOf(kind, flags, id, length))
			if kind == dataFrame {
				raw.Write(rapid.SliceOfN(rapid.Byte(), int(length), int(length)).Draw(t, "data"))
			}
			if kind <= 1 && flags == flagSYN {
				want[id] += 0
			}
			if _, begun := want[id]; begun && kind == dataFrame {
				want[id] += int(length)
			}
		}
		in := newInbox(newUnread())
		f := follower{inbox: in}
		for rest := raw.Bytes(); len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "cut")
			f.follow(rest[:n])
			rest = rest[n:]
		}
		total := 0
		for id, n := range want {
			if total += n; in.streams[id] != n {
				t.Errorf("%d bytes of stream %d are counted, want %d", in.streams[id], id, n)
			}
		}
		if in.total != total || in.all.total != total || len(in.streams) != len(want) {
			t.Errorf("%d bytes of %d streams are counted, want %d of %d", in.total, len(in.streams), total, len(want))
		}
	})
}
