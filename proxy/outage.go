package proxy

import (
	"sync"
	"time"
)

// slowFailure is how long a request to upstream must take to fail before the upstream
// counts as down: a refused connection costs nothing to try again, a time-out does.
const slowFailure = 250 * time.Millisecond

// maxDown bounds the upstreams remembered as down; names come from clients.
const maxDown = 256

// An outages remembers which registries are down, for a few seconds, so that not every
// request waits for the same time-out. Safe for concurrent use.
type outages struct {
	mu    sync.Mutex
	until map[string]time.Time
}

// down reports whether the registry failed slowly a moment ago.
func (o *outages) down(registry string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	until, ok := o.until[registry]
	if ok && !time.Now().Before(until) {
		delete(o.until, registry)
		return false
	}
	return ok
}

// failed notes that a request to the registry got no answer and took this long over it.
func (o *outages) failed(registry string, took, downFor time.Duration) {
	if took < slowFailure {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.until == nil {
		o.until = make(map[string]time.Time)
	}
	if len(o.until) >= maxDown {
		clear(o.until) // a hint only: what is forgotten is asked again
	}
	o.until[registry] = time.Now().Add(downFor)
}

// answered notes that the registry is there.
func (o *outages) answered(registry string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.until, registry)
}
