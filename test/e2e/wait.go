package e2e

import "time"

// patience is how long a test waits for anything that takes no time on an idle
// machine. It is only ever used up by a test that fails.
const patience = 45 * time.Second

// Eventually calls check until it returns nil, and fails the test with what it
// returned last when that takes longer than the given time.
func Eventually(t T, within time.Duration, what string, check func() error) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-poll.C:
		case <-deadline.C:
			t.Fatalf("waited %v for %s: %v", within, what, err)
		}
	}
}
