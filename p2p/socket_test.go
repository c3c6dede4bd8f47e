package p2p

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// option reads a socket's option.
func option(t *testing.T, c net.Conn, level, name int) int {
	t.Helper()
	socket, ok := c.(syscall.Conn)
	if !ok {
		t.Fatalf("a %T", c)
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	value := 0
	if controlErr := raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), level, name) }); controlErr != nil || err != nil {
		t.Fatal(controlErr, err)
	}
	return value
}

// The kernel wakes the reader for the rest of a record, and of what the reader said it wants,
// and at once for what may be a short message.
func TestSocketGathers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	from, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = from.Close() }()
	to, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = to.Close() }()
	s := newSocket(to)
	if got := option(t, to, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT); got != unsentLimit {
		t.Errorf("the socket keeps %d unsent bytes", got)
	}
	record := append([]byte{23, 3, 3, 0x40, 0x00}, make([]byte, 16<<10)...)
	read := make(chan int)
	for _, step := range []struct {
		wanted, gathers int
		comes           []byte
	}{
		{12, 1, record[:10]},
		{12, 16_379, record[10:]},
		{20_000, 20_000, slices.Concat(record, record[:3611])},
		{3000, 12_778, record[3611:]},
		{12, 1, record[:3]},
		{30_000, 30_000, nil}, // the end of the connection is heard all the same
	} {
		s.wanted = step.wanted
		go func() {
			n, _ := s.Read(make([]byte, 64<<10))
			read <- n
		}()
		for max(1, option(t, to, unix.SOL_SOCKET, unix.SO_RCVLOWAT)) != step.gathers {
			runtime.Gosched()
		}
		if step.comes == nil {
			err = from.Close()
		} else {
			_, err = from.Write(step.comes)
		}
		if n := <-read; err != nil || n != len(step.comes) {
			t.Errorf("%d bytes were read of %d, %v", n, len(step.comes), err)
		}
	}
}

// A recorded conn keeps what is written to it once recording is on.
type recordedConn struct {
	net.Conn
	on      bool
	written bytes.Buffer
}

func (c *recordedConn) Write(p []byte) (int, error) {
	if c.on {
		return c.written.Write(p)
	}
	return c.Conn.Write(p)
}

// A replayed conn gives what another recorded, and never more than its reader waits for.
type replayedConn struct {
	net.Conn
	from   *recordedConn
	socket *socket
	fail   func(format string, args ...any)
}

func (c *replayedConn) Read(p []byte) (int, error) {
	if !c.from.on {
		return c.Conn.Read(p)
	}
	n := c.socket.certain()
	if left := c.from.written.Len(); n < 1 || n > left {
		c.fail("the kernel would wait for %d bytes, and %d are to come", n, left)
	}
	return c.from.written.Read(p[:min(n, len(p))])
}

// Whatever is sent through TLS in frames, the reader never waits for more bytes than come before
// it can go on.
func TestSocketNeverWaitsForTooMuch(t *testing.T) {
	config := selfSigned(t)
	rapid.Check(t, func(t *rapid.T) {
		a, b := net.Pipe()
		from := &recordedConn{Conn: a}
		replayed := &replayedConn{Conn: b, from: from, fail: t.Fatalf}
		to := &socket{Conn: replayed, gathers: 1}
		replayed.socket = to
		server, client := tls.Server(from, config), tls.Client(to, &tls.Config{InsecureSkipVerify: true})
		shaken := make(chan error)
		go func() { shaken <- server.Handshake() }()
		if err := client.Handshake(); err != nil {
			t.Fatal(err)
		}
		if err := <-shaken; err != nil {
			t.Fatal(err)
		}
		from.on = true
		frames := countedConn{Conn: client, socket: to, line: &line{}, in: follower{inbox: newInbox(newUnread())}}
		for range rapid.IntRange(1, 5).Draw(t, "frames") {
			length := rapid.IntRange(0, 64<<10-frameHeader).Draw(t, "length")
			frame := make([]byte, frameHeader+length)
			if _, err := server.Write(frame); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(&frames, frame[:frameHeader]); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(&frames, frame[frameHeader:]); err != nil {
				t.Fatal(err)
			}
			if from.written.Len() > 0 {
				t.Fatalf("%d bytes are left of a frame that was read", from.written.Len())
			}
		}
	})
}

// selfSigned is a server's configuration, good for nothing else.
func selfSigned(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true}
}
