package e2e

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// ratePort is where the receivers of Rate listen.
const ratePort = 7000

// Rate is how fast bytes go over plain TCP from all senders to all receivers at the same
// time: bits of payload that arrive in a second, in all. It takes about 2 s. Nodes are
// given by number, the registry as RegistryNode.
func (l *Lab) Rate(ctx context.Context, senders, receivers []int) (float64, error) {
	ctx, cancel := context.WithCancel(ctx)
	r := &rate{net: l.net}
	defer r.tasks.Wait()
	defer cancel()
	for _, to := range receivers {
		if err := r.receive(ctx, to); err != nil {
			return 0, err
		}
	}
	for _, from := range senders {
		for _, to := range receivers {
			if err := r.send(ctx, from, to); err != nil {
				return 0, err
			}
		}
	}
	// The first half second is slow start, and the burst that the shaping lets through.
	if err := wait(ctx, 500*time.Millisecond); err != nil {
		return 0, err
	}
	before, began := r.arrived.Load(), time.Now()
	if err := wait(ctx, 1500*time.Millisecond); err != nil {
		return 0, err
	}
	return 8 * float64(r.arrived.Load()-before) / time.Since(began).Seconds(), nil
}

// A rate is one measurement.
type rate struct {
	net     network
	tasks   sync.WaitGroup
	arrived atomic.Int64 // bytes
}

func (r *rate) address(node int) string {
	return net.JoinHostPort(r.net.address(r.net.host(node)), strconv.Itoa(ratePort))
}

// receive counts what comes to a node until ctx ends.
func (r *rate) receive(ctx context.Context, node int) error {
	listener, err := listenIn(ctx, r.net.netns(node), r.address(node))
	if err != nil {
		return err
	}
	r.closeAfter(ctx, listener)
	r.tasks.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // ctx has ended
			}
			r.closeAfter(ctx, conn)
			r.tasks.Go(func() { _, _ = io.Copy(counter{&r.arrived}, conn) })
		}
	})
	return nil
}

// send sends from one node to another until ctx ends.
func (r *rate) send(ctx context.Context, from, to int) error {
	conn, err := dialIn(ctx, r.net.netns(from), r.address(to))
	if err != nil {
		return err
	}
	r.closeAfter(ctx, conn)
	r.tasks.Go(func() {
		piece := make([]byte, 64<<10)
		for {
			if _, err := conn.Write(piece); err != nil {
				return // ctx has ended
			}
		}
	})
	return nil
}

func (r *rate) closeAfter(ctx context.Context, c io.Closer) {
	r.tasks.Go(func() {
		<-ctx.Done()
		_ = c.Close()
	})
}

// A counter counts what is written to it.
type counter struct{ bytes *atomic.Int64 }

// Write implements io.Writer.
func (c counter) Write(p []byte) (int, error) {
	c.bytes.Add(int64(len(p)))
	return len(p), nil
}

// wait waits for a time to pass. It returns the cause when ctx ends first.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return errors.Join(errors.New("measuring a rate"), context.Cause(ctx))
	}
}
