package p2p

import (
	"encoding/binary"
	"reflect"
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
	goyamux "github.com/libp2p/go-yamux/v5"
)

const (
	// unreadTotal bounds the bytes that came on all connections and that nobody here has read
	// yet: a quarter of the memory that a container of Shoal's has.
	unreadTotal = 64 << 20
	// unreadConn bounds those of one connection: four chunks that come at once to a slow disk.
	unreadConn = 16 << 20
	// unreadFree is what a connection may have even when the others have all the rest: one frame
	// of another node's, the largest. So one that is read goes on, if slower.
	unreadFree = 64 << 10
)

// unread counts, for all connections, the bytes that yamux has taken from the socket and keeps
// until they are read. Its windows do not bound that: they are what this node promises, 256 KiB
// for each stream of each member, and an honest node hardly uses any of it. When there is too
// much, connections are not read, their far ends wait, and those that go on like that end: yamux
// hears no answer to its pings. It is safe for concurrent use.
type unread struct {
	mu      sync.Mutex
	total   int
	changed *sync.Cond
	limit   int // unreadTotal
}

func newUnread() *unread {
	u := &unread{limit: unreadTotal}
	u.changed = sync.NewCond(&u.mu)
	return u
}

// An inbox is what is unread of one connection. Owned by all.mu.
type inbox struct {
	all     *unread
	streams map[uint32]int // by ID, of those that are not over
	total   int
	closed  bool
}

func newInbox(all *unread) *inbox { return &inbox{all: all, streams: map[uint32]int{}} }

// begin counts what comes on the stream from now on.
func (b *inbox) begin(id uint32) {
	b.all.mu.Lock()
	defer b.all.mu.Unlock()
	if !b.closed {
		b.streams[id] += 0
	}
}

// come counts n bytes that are to come on a stream, and waits while there is no room for them.
// What comes on a stream that is over yamux throws away.
func (b *inbox) come(id uint32, n int) {
	b.all.mu.Lock()
	defer b.all.mu.Unlock()
	for b.has(id) && !b.fits(n) {
		b.all.changed.Wait()
	}
	if b.has(id) {
		b.streams[id] += n
		b.total += n
		b.all.total += n
	}
}

// fits needs all.mu.
func (b *inbox) fits(n int) bool {
	return b.total+n <= unreadFree || b.total+n <= unreadConn && b.all.total+n <= b.all.limit
}

// has needs all.mu.
func (b *inbox) has(id uint32) bool {
	_, ok := b.streams[id]
	return ok
}

// read takes out n bytes that were read from a stream.
func (b *inbox) read(id uint32, n int) {
	b.all.mu.Lock()
	defer b.all.mu.Unlock()
	if b.has(id) {
		b.take(id, min(n, b.streams[id])) // more, where it came before begin
	}
}

// end takes out all of a stream that is over. It may be called again.
func (b *inbox) end(id uint32) {
	b.all.mu.Lock()
	defer b.all.mu.Unlock()
	if b.has(id) {
		b.take(id, b.streams[id])
		delete(b.streams, id)
	}
}

// take needs all.mu.
func (b *inbox) take(id uint32, n int) {
	b.streams[id] -= n
	b.total -= n
	b.all.total -= n
	b.all.changed.Broadcast()
}

// close takes out everything, and nothing more is counted.
func (b *inbox) close() {
	b.all.mu.Lock()
	defer b.all.mu.Unlock()
	b.all.total -= b.total
	b.streams, b.total, b.closed = nil, 0, true
	b.all.changed.Broadcast()
}

// A frame is the header of one (yamux spec): its version, its type, two bytes of flags, four of
// the stream's ID, and four of the length.
type frame [frameHeader]byte

const (
	dataFrame = 0
	flagSYN   = 1 // the stream begins
	flagRST   = 8 // the stream is over
)

func (f *frame) isData() bool   { return f[1] == dataFrame }
func (f *frame) ofStream() bool { return f[1] <= 1 } // data, or a window
func (f *frame) has(flag uint16) bool {
	return f.ofStream() && binary.BigEndian.Uint16(f[2:])&flag != 0
}
func (f *frame) stream() uint32 { return binary.BigEndian.Uint32(f[4:]) }
func (f *frame) length() int    { return int(binary.BigEndian.Uint32(f[8:])) }

// A follower goes through the frames of what is read from the socket.
type follower struct {
	inbox *inbox
	frame frame
	known int // bytes of the frame's header
	rest  int // bytes of data that are to come behind it
}

// follow goes on with what was read. Where a stream's data begins it waits for room.
func (f *follower) follow(p []byte) {
	for len(p) > 0 {
		if f.rest > 0 {
			n := min(f.rest, len(p))
			f.rest, p = f.rest-n, p[n:]
			continue
		}
		n := copy(f.frame[f.known:], p)
		f.known, p = f.known+n, p[n:]
		if f.known < frameHeader {
			return
		}
		f.known = 0
		if f.frame.has(flagSYN) {
			f.inbox.begin(f.frame.stream())
		}
		if f.frame.isData() {
			f.rest = f.frame.length()
			f.inbox.come(f.frame.stream(), f.rest)
		}
	}
}

// idOf is the ID of a stream of the library's muxer, which is yamux's stream under another name.
func idOf(s network.MuxedStream) uint32 {
	stream, ok := reflect.TypeAssert[*goyamux.Stream](reflect.ValueOf(s).Convert(reflect.TypeFor[*goyamux.Stream]()))
	if !ok {
		panic("p2p: a stream of the muxer is not yamux's")
	}
	return stream.StreamID()
}
