package engine

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/scheduler"
)

// readHead reads the first bytes of the blob from the registry, for this node's clients.
// They are in memory and no chunk: no peer ever gets them.
func (e *Engine) readHead(ctx context.Context, a scheduler.ReadHead) {
	d := e.find(a.Blob)
	if d == nil {
		e.soon(scheduler.HeadRead{Blob: a.Blob, Why: scheduler.FaultCancelled})
		return
	}
	ctx, ended := d.work(ctx)
	e.spawn(func() {
		head, err := e.fetchHead(ctx, d, a.Length)
		ended()
		if err == nil {
			d.setHead(head)
		}
		e.about(d, scheduler.HeadRead{Blob: d.digest, Why: faultOf(err)})
	})
}

func (e *Engine) fetchHead(ctx context.Context, d *download, length blob.ByteCount) ([]byte, error) {
	body, err := e.openUpstream(ctx, d, 0, length)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	head := make([]byte, length)
	if _, err := io.ReadFull(body, head); err != nil {
		return nil, d.heard(fmt.Errorf("read the head of blob %s: %w", d.digest.Short(), err))
	}
	return head, d.heard(nil)
}

// setHead lets clients have the head, unless it differs from what they were given of it.
func (d *download) setHead(head []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !bytes.HasPrefix(head, d.head) {
		d.rewrites++
	}
	d.head = head
	d.notify()
}

// headFrom is how many bytes of the head there are from off on.
func (d *download) headFrom(off blob.ByteCount) blob.ByteCount {
	d.mu.Lock()
	defer d.mu.Unlock()
	return max(0, blob.ByteCount(len(d.head))-off)
}

// readHeadAt reads out of the head if it holds all that is wanted.
func (d *download) readHeadAt(p []byte, off int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if off+int64(len(p)) > int64(len(d.head)) {
		return false
	}
	copy(p, d.head[off:])
	return true
}

// headHolds reports whether the head, of which clients may have had some, is how the proven
// blob begins.
func (d *download) headHolds() bool {
	d.mu.Lock()
	head, proven := d.head, d.proven
	d.mu.Unlock()
	if len(head) == 0 || proven == nil {
		return true
	}
	begins := make([]byte, len(head))
	if _, err := proven.ReadAt(begins, 0); err != nil {
		return true // reading on will tell
	}
	return bytes.Equal(begins, head)
}
