package engine

import (
	"runtime"
	"testing"

	"github.com/shoal-project/shoal/scheduler"
)

// Every core checks links, also those of one blob alone, and no more goroutines wait than that takes.
func TestEveryCoreChecksLinks(t *testing.T) {
	for cores, want := range map[int]int{1: 4, 2: 4, 8: 16, 64: 128, 1000: 256} {
		if got := hashers(cores); got != want {
			t.Errorf("%d cores check %d links at a time, want %d", cores, got, want)
		}
		if err := (scheduler.Config{Hashers: hashers(cores)}).Validate(); err != nil {
			t.Error(err)
		}
	}
	if got := (Config{}).withDefaults().Scheduler.Hashers; got != hashers(runtime.GOMAXPROCS(0)) {
		t.Errorf("the Machine is told %d", got)
	}
	if got := (Config{Scheduler: scheduler.Config{Hashers: 1}}).withDefaults().Scheduler.Hashers; got != 1 {
		t.Errorf("the Machine was to be told 1, and is told %d", got)
	}
}
