package e2e

import (
	"context"
	"net/http"
)

// A countingWriter passes an answer on to the client, counts it, and applies the
// front's faults to the bodies of blobs.
type countingWriter struct {
	http.ResponseWriter
	ctx    context.Context //nolint:containedctx // lives for one request, as the writer does
	front  *Front
	record *Request
}

// WriteHeader notes the status.
func (w *countingWriter) WriteHeader(status int) {
	w.front.mu.Lock()
	w.record.Status = status
	w.front.mu.Unlock()
	w.ResponseWriter.WriteHeader(status)
}

// Flush lets the reverse proxy flush through.
func (w *countingWriter) Flush() {
	if flusher, ok := w.ResponseWriter.(http.Flusher); ok {
		flusher.Flush()
	}
}

// Write sends p, stalls before it, or cuts the connection, as the faults say. A body
// is cut by FIN and not by RST, as a registry behind a load balancer does.
func (w *countingWriter) Write(p []byte) (int, error) {
	written := 0
	for written < len(p) {
		n, err := w.allowed(len(p) - written)
		if err != nil {
			return written, err
		}
		n, err = w.ResponseWriter.Write(p[written : written+n])
		written += n
		w.front.mu.Lock()
		w.record.Bytes += int64(n)
		w.front.mu.Unlock()
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// allowed takes up to n bytes from what may be sent now, waiting while there is
// nothing.
func (w *countingWriter) allowed(n int) (int, error) {
	f := w.front
	for {
		f.mu.Lock()
		faults, changed := f.faults, f.changed
		if !Blobs(*w.record) {
			f.mu.Unlock()
			return n, nil
		}
		if faults.Cut > 0 && w.record.Bytes >= faults.Cut {
			f.mu.Unlock()
			w.Flush()
			panic(http.ErrAbortHandler)
		}
		take := int64(n)
		if faults.Cut > 0 {
			take = min(take, faults.Cut-w.record.Bytes)
		}
		if faults.Hold > 0 {
			take = min(take, faults.Hold-f.passed)
		}
		if take > 0 {
			f.passed += take
			f.mu.Unlock()
			return int(take), nil
		}
		f.mu.Unlock()
		w.Flush()
		select {
		case <-changed:
		case <-w.ctx.Done():
			return 0, context.Cause(w.ctx)
		}
	}
}
