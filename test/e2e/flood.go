package e2e

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A Flood opens connections to one address from the lab's own, as fast as it can, and says nothing on
// them.
type Flood struct {
	Opened   atomic.Int64 // connections made
	Welcomed atomic.Int64 // of them, those whose first byte came: the far end had begun to work for them

	stop chan struct{}
	wg   sync.WaitGroup
	once sync.Once
}

const (
	floodWorkers = 32
	// floodHeld bounds the connections that are open at a time.
	floodHeld = 1024
	// floodMost bounds them all, whatever happens.
	floodMost = 200_000
	// greetingWait is how long a connection waits for its first byte.
	greetingWait = time.Second
)

// BeginFlood starts a flood of the node's port for members. It ends with End or with the T.
func (n *Node) BeginFlood() *Flood {
	f := &Flood{stop: make(chan struct{})}
	address := net.JoinHostPort(n.Address, p2pPort)
	held := make(chan net.Conn, floodHeld)
	for range floodWorkers {
		f.wg.Go(func() {
			for !f.ended() && f.Opened.Load() < floodMost {
				f.open(n.lab.t.Context(), address, held)
			}
		})
	}
	n.lab.t.Cleanup(func() {
		f.End()
		close(held)
		for c := range held {
			_ = c.Close()
		}
	})
	return f
}

// open makes one connection and keeps it, in the place of the oldest if there are too many.
func (f *Flood) open(ctx context.Context, address string, held chan net.Conn) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp4", address)
	if err != nil {
		return
	}
	f.Opened.Add(1)
	_ = c.SetReadDeadline(time.Now().Add(greetingWait))
	if n, _ := c.Read(make([]byte, 1)); n > 0 {
		f.Welcomed.Add(1)
	}
	for {
		select {
		case held <- c:
			return
		default:
		}
		select {
		case oldest := <-held:
			_ = oldest.Close()
		default:
		}
	}
}

func (f *Flood) ended() bool {
	select {
	case <-f.stop:
		return true
	default:
		return false
	}
}

// End stops opening connections; those that are there stay until the T ends.
func (f *Flood) End() {
	f.once.Do(func() { close(f.stop) })
	f.wg.Wait()
}
