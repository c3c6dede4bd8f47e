package metrics

import (
	"strings"
	"sync"
)

const (
	// reasonsMax bounds the label values of quarantines_total: a label must not grow
	// with what peers do.
	reasonsMax  = 16
	reasonOther = "other"
)

// reasons remembers the first few classes it sees. The zero value is ready.
type reasons struct {
	mu    sync.Mutex
	known map[string]struct{}
}

// class returns reason, or "other" when there are too many.
func (r *reasons) class(reason string) string {
	reason = strings.ToValidUTF8(reason, "?") // what a label must be
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.known[reason]; ok {
		return reason
	}
	if reason == "" || len(r.known) >= reasonsMax {
		return reasonOther
	}
	if r.known == nil {
		r.known = map[string]struct{}{}
	}
	r.known[reason] = struct{}{}
	return reason
}
