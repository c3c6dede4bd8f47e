package admission

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestDoorPushesOutTheOldest(t *testing.T) {
	s := GenerateSecret()
	door := NewDoor(3, time.Minute)
	b := newNode(t, Config{Secrets: []Secret{s}, Door: door})
	a := newNode(t, Config{Secrets: []Secret{s}})
	idle := make([]net.Conn, 0, 10)
	for range 10 {
		d, l := pair(t)
		if err := door.Enter(l); err != nil {
			t.Fatal(err)
		}
		idle = append(idle, d)
	}
	if n := door.Len(); n != 3 {
		t.Errorf("%d half-open connections, want 3", n)
	}
	for _, d := range idle[:7] {
		_, _ = io.Copy(io.Discard, d) // ends: it was closed
	}
	// A member passes all the same, and leaves the door.
	d, l := pair(t)
	if err := door.Enter(l); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := b.SecureInbound(t.Context(), l, "")
		done <- err
	}()
	if _, err := a.SecureOutbound(t.Context(), d, b.self); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if n := door.Len(); n != 2 {
		t.Errorf("%d half-open connections, want 2", n)
	}
}

func TestDoorSetsADeadline(t *testing.T) {
	door := NewDoor(0, 20*time.Millisecond)
	_, l := pair(t)
	if err := door.Enter(l); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Read(make([]byte, 1)); err == nil {
		t.Error("read from an idle connection")
	}
	_, next := pair(t)
	if err := door.Enter(next); err != nil {
		t.Fatal(err)
	}
	if n := door.Len(); n != 1 {
		t.Errorf("%d half-open connections, want 1: the other's time was over", n)
	}
}

// A waiter is a connection from an address that is in the door.
type waiter struct {
	net.Conn
	from   string
	closed bool
}

func (w *waiter) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(w.from), 4000))
}
func (*waiter) SetDeadline(time.Time) error { return nil }
func (w *waiter) Close() error              { w.closed = true; return nil }

// A full door pushes out whom there is most of, the oldest of them: one host cannot push out others,
// whatever addresses of its network it takes.
func TestDoorPushesOutOfTheLargestCrowd(t *testing.T) {
	const room = 8
	for name, flood := range map[string]func(i int) string{
		"IPv4":         func(int) string { return "10.0.0.66" },
		"IPv6":         func(i int) string { return fmt.Sprintf("2001:db8::%x", i) },
		"IPv4 as IPv6": func(i int) string { return []string{"10.0.0.66", "::ffff:10.0.0.66"}[i%2] },
	} {
		door := NewDoor(room, time.Hour)
		honest := []*waiter{{from: "10.0.0.1"}, {from: "2001:db8:0:1::1"}, {from: "10.0.0.1"}}
		crowd := make([]*waiter, 0, 100)
		enter := func(w *waiter) {
			if err := door.Enter(w); err != nil {
				t.Fatal(err)
			}
		}
		for _, w := range honest {
			enter(w)
		}
		for i := range cap(crowd) {
			crowd = append(crowd, &waiter{from: flood(i)})
			enter(crowd[i])
		}
		late := &waiter{from: "10.0.0.2"}
		enter(late)
		for _, w := range append(honest, late) {
			if w.closed {
				t.Errorf("%s: %s was pushed out", name, w.from)
			}
		}
		for i, w := range crowd {
			if stays := i >= len(crowd)-(room-len(honest)-1); w.closed == stays {
				t.Errorf("%s: connection %d of the flood: closed is %v", name, i, w.closed)
			}
		}
		if n := door.Len(); n != room {
			t.Errorf("%s: %d wait in a door for %d", name, n, room)
		}
		for _, w := range append(crowd, append(honest, late)...) {
			door.Leave(w)
		}
		if door.Len() != 0 || len(door.crowds) != 0 {
			t.Errorf("%s: %d wait, and %v are counted, though all left", name, door.Len(), door.crowds)
		}
	}
}

// An outsider that always has a byte more to say is cut off when its time is over, which runs from
// when it came: whether it drips before TLS, in it or behind it.
func TestDrippingOutsiderIsCutOff(t *testing.T) {
	const timeout = 5 * time.Second
	drip := func(c io.Writer) {
		for err := error(nil); err == nil; _, err = c.Write([]byte{0}) {
			time.Sleep(100 * time.Millisecond) // of the bubble's clock
		}
	}
	for name, speaks := range map[string]func(ctx context.Context, o node, c net.Conn){
		"in TLS": func(_ context.Context, _ node, c net.Conn) {
			_, _ = c.Write([]byte{0x16, 3, 1, 0x40, 0}) // the header of a record of 16 KiB
			drip(c)
		},
		"behind TLS": func(ctx context.Context, o node, c net.Conn) {
			if secured, err := o.tls.SecureOutbound(ctx, c, ""); err == nil {
				drip(secured)
			}
		},
	} {
		for _, before := range []time.Duration{0, time.Second, timeout - time.Millisecond} {
			t.Run(fmt.Sprintf("%s after %s", name, before), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { isCutOff(t, timeout, before, speaks) })
			})
		}
	}
}

// isCutOff has an outsider speak that took so long before TLS began.
func isCutOff(t *testing.T, timeout, before time.Duration, speaks func(ctx context.Context, o node, c net.Conn)) {
	t.Helper()
	door := NewDoor(0, timeout)
	here := newNode(t, Config{Secrets: []Secret{GenerateSecret()}, Timeout: timeout, Door: door})
	stranger := newNode(t, Config{Secrets: []Secret{GenerateSecret()}})
	far, near := net.Pipe()
	began := time.Now()
	if err := door.Enter(near); err != nil {
		t.Fatal(err)
	}
	time.Sleep(before) // of the bubble's clock
	var spoke sync.WaitGroup
	spoke.Go(func() { speaks(t.Context(), stranger, far) })
	if _, err := here.SecureInbound(t.Context(), near, ""); err == nil {
		t.Error("it was let in")
	}
	if took := time.Since(began); took != timeout {
		t.Errorf("it was cut off after %s, want %s", took, timeout)
	}
	if door.Len() != 0 {
		t.Error("it did not leave the door")
	}
	spoke.Wait() // the far end was closed
}
