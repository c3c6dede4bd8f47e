package p2p

import (
	"encoding/binary"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// unsentLimit is how many bytes wait in a socket for the network. Those on their way are not
	// counted: this costs no throughput.
	unsentLimit = 32 << 10
	// fewBytes are too few to have the kernel gather them.
	fewBytes = 4 << 10

	recordHeader = 5  // bytes of a TLS record's header (RFC 8446, section 5.1)
	recordTail   = 17 // bytes of a record that are not the sender's: its type and the tag
	maxRecord    = 1<<14 + 256
)

// A socket is a TCP connection below TLS that keeps few bytes back, and whose reader is woken
// for the rest of a record, or of a frame of the muxer, as a whole. Otherwise each segment of
// the network wakes a goroutine, which at 100 Mbit/s costs more than everything else but the
// hashing. It is read by one goroutine at a time.
type socket struct {
	net.Conn
	raw syscall.RawConn // nil for what is no socket

	gathers int // bytes that the kernel waits for (socket(7), SO_RCVLOWAT)
	wanted  int // bytes inside TLS without which the reader cannot go on; set by it

	// Where in a record the next byte lies.
	header [recordHeader]byte
	known  int  // bytes of the header
	rest   int  // bytes of the record that are to come, once the header is known
	inside int  // bytes that the record holds for the reader
	lost   bool // this is not TLS
}

func newSocket(c net.Conn) *socket {
	s := &socket{Conn: c, gathers: 1}
	if tcp, ok := c.(interface {
		SyscallConn() (syscall.RawConn, error)
	}); ok {
		s.raw, _ = tcp.SyscallConn() // it works without
	}
	_ = s.set(unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentLimit)
	return s
}

// set sets a socket option and reports whether it is set.
func (s *socket) set(level, option, value int) bool {
	if s.raw == nil {
		return false
	}
	var err error
	if controlErr := s.raw.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), level, option, value)
	}); controlErr != nil {
		err = controlErr
	}
	return err == nil
}

// Read implements net.Conn.
func (s *socket) Read(p []byte) (int, error) {
	s.gather(s.certain())
	n, err := s.Conn.Read(p)
	s.follow(p[:n])
	return n, err
}

// certain is how many bytes come before the reader can go on, at least: the kernel must not
// wait for more.
func (s *socket) certain() int {
	switch {
	case s.lost:
		return 1
	case s.known < recordHeader:
		return max(1, s.wanted) // all of that is in records to come
	default:
		return s.rest + max(0, s.wanted-s.inside)
	}
}

// gather has the kernel wait for so many bytes, where that is worth a system call.
func (s *socket) gather(n int) {
	if n < fewBytes {
		n = 1
	}
	if n != s.gathers && s.set(unix.SOL_SOCKET, unix.SO_RCVLOWAT, n) {
		s.gathers = n
	}
}

// follow goes through the records of what was read.
func (s *socket) follow(p []byte) {
	for len(p) > 0 && !s.lost {
		if s.known < recordHeader {
			n := copy(s.header[s.known:], p)
			s.known, p = s.known+n, p[n:]
			if s.known < recordHeader {
				return
			}
			s.rest = int(binary.BigEndian.Uint16(s.header[3:]))
			s.inside = max(0, s.rest-recordTail)
			s.lost = s.header[1] != 3 || s.rest > maxRecord // a version of TLS begins with 3
		}
		n := min(s.rest, len(p))
		s.rest, p = s.rest-n, p[n:]
		if s.rest == 0 {
			s.known, s.inside = 0, 0
		}
	}
}
