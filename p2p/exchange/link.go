package exchange

import (
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

// A pace keeps one direction of a stream moving: a frame that has begun must neither stand
// still nor take for ever. One goroutine uses it; giveUp may come from any.
type pace struct {
	set   func(time.Time) error // SetReadDeadline or SetWriteDeadline
	stall time.Duration

	// Of the user alone.
	until    time.Time // when the frame must be through; zero between frames
	deadline time.Time // what the stream has now; zero for none

	mu   sync.Mutex
	over bool // deadlines are no longer the user's
}

// begin starts the clock of a frame that may take so long altogether. The stream hears of it
// when the frame is first waited for: most have come by then.
func (p *pace) begin(whole time.Duration) { p.until = time.Now().Add(whole) }

// idle stops the clock: between two frames a session may be silent.
func (p *pace) idle() {
	p.until = time.Time{}
	if !p.deadline.IsZero() {
		p.apply(time.Time{})
	}
}

// step is called before each read or write. Setting a deadline is not free: it is moved
// only when that makes a difference.
func (p *pace) step() {
	if p.until.IsZero() {
		return
	}
	now := time.Now()
	if p.deadline.After(now.Add(p.stall*15/16)) && !p.deadline.After(p.until) {
		return
	}
	deadline := now.Add(p.stall)
	if p.until.Before(deadline) {
		deadline = p.until
	}
	if !deadline.Equal(p.deadline) {
		p.apply(deadline)
	}
}

func (p *pace) apply(deadline time.Time) {
	p.deadline = deadline
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over {
		_ = p.set(deadline) // fails only on a stream that is over already
	}
}

// giveUp sets the last deadline, with immediate effect. It does not block.
func (p *pace) giveUp(deadline time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
	_ = p.set(deadline) // fails only on a stream that is over already
}

// An inlet reads from a session's stream.
type inlet struct {
	pace
	stream network.Stream
	meter  *meter
}

func (l *inlet) Read(p []byte) (int, error) {
	l.step()
	n, err := l.stream.Read(p)
	l.meter.in.Add(int64(n))
	return n, err
}

// An outlet writes to a session's stream.
type outlet struct {
	pace
	stream network.Stream
	meter  *meter
}

// Write writes in pieces, each of which is progress.
func (l *outlet) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		l.step()
		n, err := l.stream.Write(p[written:min(written+bufferSize, len(p))])
		l.meter.out.Add(int64(n))
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}
