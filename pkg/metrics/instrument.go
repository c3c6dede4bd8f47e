package metrics

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Instrument counts and times the requests that next answers. It keeps sendfile and
// flushing working, and lets next abort an answer by panicking with http.ErrAbortHandler.
func (m *Metrics) Instrument(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind := kindOf(r.URL.Path)
		t := &timed{ResponseWriter: w, now: m.config.Now, started: m.config.Now()}
		m.inFlight.Inc()
		ended := false
		defer func() {
			m.inFlight.Dec()
			t.answered()
			m.firstByte.WithLabelValues(kind).Observe(t.firstByte.Sub(t.started).Seconds())
			m.requests.WithLabelValues(kind, methodOf(r.Method), t.label(ended)).Inc()
		}()
		next.ServeHTTP(t, r)
		ended = true
	})
}

// kindOf names what a path of the distribution specification asks for.
func kindOf(path string) string {
	rest, ok := strings.CutPrefix(path, "/v2")
	switch {
	case !ok:
		return "other"
	case rest == "" || rest == "/":
		return "ping"
	case strings.HasSuffix(rest, "/tags/list"):
		return "tags"
	}
	parts := strings.Split(rest, "/")
	if len(parts) < 2 {
		return "other"
	}
	switch parts[len(parts)-2] {
	case "manifests":
		return "manifest"
	case "blobs":
		return "blob"
	case "referrers":
		return "referrers"
	default:
		return "other"
	}
}

// methodOf bounds the label: a client may send any word.
func methodOf(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead:
		return method
	default:
		return "other"
	}
}

// A timed is a ResponseWriter that notes the status and when the body began. Like the
// one it wraps it belongs to one request.
type timed struct {
	http.ResponseWriter
	now       func() time.Time
	started   time.Time
	firstByte time.Time
	code      int
}

// label is the code as a label. A handler that panicked before any header has none.
func (t *timed) label(ended bool) string {
	switch {
	case t.code == 0 && ended:
		return "200"
	case t.code == 0:
		return "none"
	case t.code < 100 || t.code > 599:
		return "other"
	default:
		return strconv.Itoa(t.code)
	}
}

func (t *timed) answered() {
	if t.firstByte.IsZero() {
		t.firstByte = t.now()
	}
}

// WriteHeader implements http.ResponseWriter.
func (t *timed) WriteHeader(code int) {
	if t.code == 0 && code >= http.StatusOK { // 1xx come before the answer
		t.code = code
	}
	t.ResponseWriter.WriteHeader(code)
}

// Write implements http.ResponseWriter.
func (t *timed) Write(p []byte) (int, error) {
	t.begun(len(p))
	return t.ResponseWriter.Write(p)
}

func (t *timed) begun(n int) {
	if t.code == 0 {
		t.code = http.StatusOK
	}
	if n > 0 {
		t.answered()
	}
}

// ReadFrom implements io.ReaderFrom, through which a file reaches the connection by sendfile.
func (t *timed) ReadFrom(src io.Reader) (int64, error) {
	t.begun(1)
	if to, ok := t.ResponseWriter.(io.ReaderFrom); ok {
		return to.ReadFrom(src)
	}
	return io.Copy(struct{ io.Writer }{t.ResponseWriter}, src)
}

// Flush implements http.Flusher.
func (t *timed) Flush() {
	if t.code == 0 {
		t.code = http.StatusOK
	}
	// A writer that cannot be flushed sends when it sends; http.Flusher knows no error.
	_ = http.NewResponseController(t.ResponseWriter).Flush()
}

// Unwrap is for http.ResponseController.
func (t *timed) Unwrap() http.ResponseWriter { return t.ResponseWriter }
