package daemon

import (
	"errors"
	"sync"
	"time"

	"github.com/shoal-project/shoal/pkg/admin"
	"github.com/shoal-project/shoal/pkg/store"
)

// diskFresh is how long a failure of the disk is shown after it happened last.
const diskFresh = 10 * time.Minute

// diskState is what the disk did last. The zero value is ready, and safe for concurrent use.
type diskState struct {
	mu  sync.Mutex
	err error // nil: it kept a blob
	at  time.Time
}

// tell takes note of a failure, or with nil of a blob that was kept.
func (d *diskState) tell(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err, d.at = err, time.Now()
}

// warning is what an operator should know, if anything.
func (d *diskState) warning() (admin.Warning, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil || time.Since(d.at) > diskFresh {
		return admin.Warning{}, false
	}
	code := "disk_failed"
	if errors.Is(d.err, store.ErrDiskFull) {
		code = "disk_full"
	}
	return admin.Warning{Code: code, Message: "blobs are streamed past the store: " + d.err.Error()}, true
}
