package discovery

import (
	"sync"
	"time"
)

const (
	// firstPatience is what a peer gets before anything is known, and one gets from
	// leastPatience up to mostPatience after that.
	firstPatience, leastPatience, mostPatience = 150 * time.Millisecond, 50 * time.Millisecond, time.Second
)

// patience is how long a walk waits for a peer before it turns to another as well. Where
// everybody takes long, because they or this node have much to do, nobody is slow: it follows
// the answers as TCP's retransmission timer does (RFC 6298). The zero value is ready. It is
// safe for concurrent use.
type patience struct {
	mu         sync.Mutex
	mean, away time.Duration // smoothed time of an answer, and how far answers are from it
}

func (p *patience) took(t time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mean == 0 {
		p.mean, p.away = t, t/2
		return
	}
	p.away += ((t - p.mean).Abs() - p.away) / 4
	p.mean += (t - p.mean) / 8
}

func (p *patience) now() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mean == 0 {
		return firstPatience
	}
	return min(max(p.mean+4*p.away, leastPatience), mostPatience)
}
