// Package meter measures rates. Time is an argument; nothing here reads a clock.
package meter

import (
	"math"
	"sync"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

const (
	// meterMemory is how long ago a byte must be for its weight to be 1/e.
	meterMemory = 5 * time.Second
	// meterWarmUp is the shortest time over which the first bytes are averaged, lest
	// a burst right after the start be taken for a rate.
	meterWarmUp = time.Second
)

// A Meter measures a rate: a moving average whose weights fall exponentially, with a
// correction for the time before there was anything to average. It takes the time as
// an argument. The zero value is ready; a Meter must not be copied, and is safe for
// concurrent use.
type Meter struct {
	mu sync.Mutex
	// weight is the sum of all counts, each decayed to the moment last.
	weight      float64
	first, last time.Time
	total       blob.ByteCount
}

// Add records n bytes at now. Time that runs backwards counts as standing still.
func (m *Meter) Add(now time.Time, n blob.ByteCount) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.first.IsZero() {
		m.first, m.last = now, now
	}
	m.decay(now)
	m.weight += float64(n)
	m.total += n
}

// Rate returns the rate at now, in bytes per second.
func (m *Meter) Rate(now time.Time) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.first.IsZero() {
		return 0
	}
	m.decay(now)
	since := max(m.last.Sub(m.first), meterWarmUp)
	known := 1 - math.Exp(-since.Seconds()/meterMemory.Seconds())
	return int64(math.Round(m.weight / (meterMemory.Seconds() * known)))
}

// Total returns all bytes ever added.
func (m *Meter) Total() blob.ByteCount {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.total
}

// decay moves last to now. The caller holds mu.
func (m *Meter) decay(now time.Time) {
	passed := now.Sub(m.last)
	if passed <= 0 {
		return
	}
	m.weight *= math.Exp(-passed.Seconds() / meterMemory.Seconds())
	m.last = now
}
