package meter_test

import (
	"sync"
	"testing"
	"time"

	"github.com/shoal-project/shoal/pkg/meter"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestMeterFollowsASteadyRate(t *testing.T) {
	var m meter.Meter
	if m.Rate(now) != 0 || m.Total() != 0 {
		t.Fatalf("a new meter says %d, %d", m.Rate(now), m.Total())
	}
	at := now
	for i := range 600 { // 1 MB/s in steps of 100 ms
		at = at.Add(100 * time.Millisecond)
		m.Add(at, 100_000)
		if got := m.Rate(at); i >= 20 && (got < 900_000 || got > 1_100_000) {
			t.Fatalf("after %d steps: %d bytes per second", i, got)
		}
	}
	if m.Total() != 60_000_000 {
		t.Errorf("total %d", m.Total())
	}
	if got := m.Rate(at.Add(30 * time.Second)); got > 3000 {
		t.Errorf("30 s after the last byte: %d bytes per second", got)
	}
	if got := m.Rate(at.Add(10 * time.Minute)); got != 0 {
		t.Errorf("10 min after the last byte: %d bytes per second", got)
	}
}

func TestMeterTakesABurstForOneSecond(t *testing.T) {
	var m meter.Meter
	m.Add(now, 1_000_000)
	if got := m.Rate(now); got < 1_000_000 || got > 1_200_000 {
		t.Errorf("%d bytes per second, want about all of it in a second", got)
	}
	m.Add(now.Add(-time.Hour), 1_000_000) // a clock set back
	if got := m.Rate(now.Add(-time.Hour)); got < 2_000_000 || got > 2_400_000 {
		t.Errorf("%d bytes per second", got)
	}
}

func TestMeterIsShared(t *testing.T) {
	var m meter.Meter
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range 100 {
				m.Add(now.Add(time.Duration(i)*time.Millisecond), 1)
				_ = m.Rate(now)
			}
		})
	}
	all.Wait()
	if m.Total() != 400 {
		t.Errorf("total %d", m.Total())
	}
}
