package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

var noTime time.Time

func TestReadBlob(t *testing.T) {
	p, d := content(100_000)
	size := blob.ByteCount(len(p))
	var ranges []string
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/team/app/blobs/"+d.String() || r.URL.RawQuery != "" {
			http.NotFound(w, r)
			return
		}
		if r.Header.Get("User-Agent") != "shoal" || len(r.Header["Accept-Encoding"]) > 0 {
			t.Errorf("headers %v", r.Header)
		}
		ranges = append(ranges, r.Header.Get("Range"))
		serveContent(w, r, p)
	})
	var total blob.ByteCount
	for _, span := range [][2]blob.ByteCount{{0, size}, {0, 1}, {1, 1}, {size - 1, 1}, {777, 50_000}, {1, size - 1}, {0, size - 1}, {size, 0}, {5, 0}} {
		got, err := read(t.Context(), c, anonymous(), d, size, span[0], span[1])
		if err != nil || !bytes.Equal(got, p[span[0]:span[0]+span[1]]) {
			t.Errorf("read %v: %d bytes, %v", span, len(got), err)
		}
		total += span[1]
	}
	want := []string{"", "bytes=0-0", "bytes=1-1", "bytes=99999-99999", "bytes=777-50776", "bytes=1-99999", "bytes=0-99998"}
	if strings.Join(ranges, " ") != strings.Join(want, " ") {
		t.Errorf("ranges %q, want %q", ranges, want)
	}
	if got := c.Stats()[reg]; got.Bytes != total || got.Requests != uint64(len(want)) || got.Failures != 0 {
		t.Errorf("counted %+v, want %d bytes", got, total)
	}
	if !c.RangesSupported(reg) {
		t.Error("ranges are said not to be supported")
	}
}

func TestReadBlobEmpty(t *testing.T) {
	_, d := content(0)
	c, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "0") })
	if got, err := read(t.Context(), c, anonymous(), d, 0, 0, 0); err != nil || len(got) > 0 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestReadBlobRefusesNonsense(t *testing.T) {
	_, d := content(1)
	c, _ := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request was sent") })
	const most = blob.ByteCount(1<<63 - 1)
	for _, span := range [][3]blob.ByteCount{
		{-1, 0, 0}, {10, -1, 1}, {10, 0, -1}, {10, 0, 11}, {10, 10, 1}, {10, 11, 0}, {blob.MaxSize + 1, 0, 1}, {10, most, most}, {10, 5, most},
	} {
		if _, err := c.ReadBlob(t.Context(), anonymous(), d, span[0], span[1], span[2]); !errors.Is(err, ErrRequest) {
			t.Errorf("%v: %v", span, err)
		}
	}
	for _, src := range []Source{{}, {Repository: Repository{Registry: reg, Name: "../x"}}, {Repository: Repository{Registry: "a/b", Name: "x"}}} {
		if _, err := c.ReadBlob(t.Context(), src, d, 10, 0, 1); !errors.Is(err, ErrName) {
			t.Errorf("%v: %v", src, err)
		}
	}
}

// What an answer may do wrong. The read is of bytes 200 to 499 of 1000, unless whole.
type misbehaviour struct {
	name  string
	whole bool
	serve func(w http.ResponseWriter, r *http.Request, p []byte)
	// check looks at what was delivered before the error. Nil means: the right bytes, no error.
	check func(t *testing.T, got []byte, err error)
}

// invalid expects that nothing is delivered.
func invalid(t *testing.T, got []byte, err error) {
	t.Helper()
	if _, ok := errors.AsType[*InvalidResponseError](err); !ok || len(got) > 0 {
		t.Errorf("%d bytes, error %v; want none and an InvalidResponseError", len(got), err)
	}
	if Temporary(err) {
		t.Errorf("%v is temporary", err)
	}
}

// truncated expects exactly n bytes before the end.
func truncated(n int) func(*testing.T, []byte, error) {
	return func(t *testing.T, got []byte, err error) {
		t.Helper()
		cut, ok := errors.AsType[*TruncatedError](err)
		if !ok || !errors.Is(err, io.ErrUnexpectedEOF) || len(got) != n || int(cut.Got) != n || cut.Want != 300 || cut.Stalled {
			t.Errorf("%d bytes, error %v; want %d and a TruncatedError", len(got), err, n)
		}
		if !Temporary(err) || errors.Is(err, ErrUnreachable) {
			t.Errorf("%v: temporary %v", err, Temporary(err))
		}
	}
}

// part writes a 206 with the headers of the range asked for, after change.
func part(w http.ResponseWriter, change map[string]string, body []byte) {
	w.Header().Set("Content-Range", "bytes 200-499/1000")
	w.Header().Set("Content-Length", "300")
	for name, value := range change {
		if value == "" {
			w.Header().Del(name)
		} else {
			w.Header().Set(name, value)
		}
	}
	w.WriteHeader(http.StatusPartialContent)
	_, _ = w.Write(body)
}

// chunked writes a body without announcing its length.
func chunked(w http.ResponseWriter, status int, body []byte) {
	w.WriteHeader(status)
	for len(body) > 0 {
		n := min(70, len(body))
		_, _ = w.Write(body[:n])
		_ = http.NewResponseController(w).Flush()
		body = body[n:]
	}
}

func misbehaviours(d blob.Digest) []misbehaviour {
	all := []misbehaviour{ //nolint:prealloc // a table reads better than its length
		{name: "no range", serve: func(w http.ResponseWriter, _ *http.Request, p []byte) { _, _ = w.Write(p) }},
		{name: "no range, dropped before the part", check: truncated(0), serve: func(w http.ResponseWriter, _ *http.Request, p []byte) {
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write(p[:150])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}},
		{name: "dropped in the middle", check: truncated(120), serve: func(w http.ResponseWriter, _ *http.Request, p []byte) {
			part(w, nil, p[200:320])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}},
		{name: "short by its length", check: invalid, serve: func(w http.ResponseWriter, _ *http.Request, p []byte) {
			part(w, map[string]string{"Content-Length": "299"}, p[200:499])
		}},
		{name: "long by its length", check: invalid, serve: func(w http.ResponseWriter, _ *http.Request, p []byte) {
			part(w, map[string]string{"Content-Length": "301"}, p[200:501])
		}},
		{name: "no length", serve: func(w http.ResponseWriter, _ *http.Request, p []byte) {
			w.Header().Set("Content-Range", "bytes 200-499/1000")
			chunked(w, http.StatusPartialContent, p[200:500])
		}},
		{name: "no length, short", check: truncated(299), serve: func(w http.ResponseWriter, _ *http.Request, p []byte) {
			w.Header().Set("Content-Range", "bytes 200-499/1000")
			chunked(w, http.StatusPartialContent, p[200:499])
		}},
		{name: "no length, dropped", check: truncated(100), serve: func(w http.ResponseWriter, _ *http.Request, p []byte) {
			w.Header().Set("Content-Range", "bytes 200-499/1000")
			chunked(w, http.StatusPartialContent, p[200:300])
			panic(http.ErrAbortHandler)
		}},
		{name: "no length, long", serve: func(w http.ResponseWriter, _ *http.Request, p []byte) {
			w.Header().Set("Content-Range", "bytes 200-499/1000")
			chunked(w, http.StatusPartialContent, p[200:520])
		}, check: func(t *testing.T, got []byte, err error) {
			t.Helper()
			if _, ok := errors.AsType[*InvalidResponseError](err); !ok || len(got) >= 300 {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		}},
		{name: "error page with 200", check: invalid, serve: func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, "<html>maintenance</html>")
		}},
		{name: "error page with 200 and no length", check: invalid, serve: func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			chunked(w, http.StatusOK, bytes.Repeat([]byte("<p>"), 900))
		}},
		{name: "whole: error page with 200", whole: true, check: invalid, serve: func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			_, _ = io.WriteString(w, "<html>maintenance</html>")
		}},
		{name: "whole: no length but named", whole: true, serve: func(w http.ResponseWriter, _ *http.Request, p []byte) {
			w.Header().Set("Docker-Content-Digest", d.String())
			chunked(w, http.StatusOK, p)
		}},
		{name: "whole: a part", whole: true, check: invalid, serve: func(w http.ResponseWriter, _ *http.Request, p []byte) {
			part(w, nil, p[200:500])
		}},
		{name: "gzip", check: invalid, serve: func(w http.ResponseWriter, _ *http.Request, p []byte) {
			part(w, map[string]string{"Content-Encoding": "gzip"}, p[200:500])
		}},
		{name: "gzip, whole", whole: true, check: invalid, serve: func(w http.ResponseWriter, _ *http.Request, p []byte) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(p)
		}},
		{name: "identity", serve: func(w http.ResponseWriter, _ *http.Request, p []byte) {
			part(w, map[string]string{"Content-Encoding": "identity"}, p[200:500])
		}},
		{name: "another blob with 206", check: invalid, serve: func(w http.ResponseWriter, _ *http.Request, p []byte) {
			part(w, map[string]string{"Docker-Content-Digest": "sha256:" + strings.Repeat("0", 64)}, p[200:500])
		}},
		{name: "another blob with 200", check: invalid, serve: func(w http.ResponseWriter, _ *http.Request, p []byte) {
			w.Header().Set("Docker-Content-Digest", "sha256:"+strings.Repeat("0", 64))
			_, _ = w.Write(p)
		}},
		{name: "malformed digest", check: invalid, serve: func(w http.ResponseWriter, _ *http.Request, p []byte) {
			part(w, map[string]string{"Docker-Content-Digest": "sha256:0"}, p[200:500])
		}},
		{name: "named by another algorithm", serve: func(w http.ResponseWriter, _ *http.Request, p []byte) {
			part(w, map[string]string{"Docker-Content-Digest": "sha512:" + strings.Repeat("0", 128)}, p[200:500])
		}},
		{name: "two ranges", check: invalid, serve: func(w http.ResponseWriter, _ *http.Request, p []byte) {
			w.Header().Add("Content-Range", "bytes 200-499/1000")
			w.Header().Add("Content-Range", "bytes 0-299/1000")
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(p[200:500])
		}},
	}
	for _, wrong := range []string{
		"", "bytes 199-498/1000", "bytes 200-499/1001", "bytes 200-499/*", "bytes 200-498/1000", "bytes */1000",
		"items 200-499/1000", "bytes=200-499/1000", "bytes 0-299/1000", "bytes 200-499", "bytes 499-200/1000", "bytes +200-499/1000",
	} {
		all = append(all, misbehaviour{name: "range " + strconv.Quote(wrong), check: invalid, serve: func(w http.ResponseWriter, _ *http.Request, p []byte) {
			part(w, map[string]string{"Content-Range": wrong}, p[200:500])
		}})
	}
	for _, status := range []int{201, 202, 204, 416} {
		all = append(all, misbehaviour{name: fmt.Sprint("status ", status), check: invalid, serve: func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			w.WriteHeader(status)
		}})
	}
	return all
}

func TestMisbehaviour(t *testing.T) {
	p, d := content(1000)
	for _, m := range misbehaviours(d) {
		t.Run(m.name, func(t *testing.T) {
			c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { m.serve(w, r, p) })
			off, n := blob.ByteCount(200), blob.ByteCount(300)
			if m.whole {
				off, n = 0, 1000
			}
			got, err := read(t.Context(), c, anonymous(), d, 1000, off, n)
			if !bytes.HasPrefix(p[off:off+n], got) {
				t.Fatal("wrong bytes were delivered")
			}
			switch {
			case m.check != nil:
				m.check(t, got, err)
			case err != nil || len(got) != int(n):
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

// A caller that reads exactly the bytes it wants must hear of the excess, too.
func TestExcessIsSeenWithoutReadingOn(t *testing.T) {
	p, d := content(1000)
	c, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Range", "bytes 200-499/1000")
		chunked(w, http.StatusPartialContent, p[200:501])
	})
	body, err := c.ReadBlob(t.Context(), anonymous(), d, 1000, 200, 300)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = body.Close() }()
	if _, err := io.ReadFull(body, make([]byte, 300)); err == nil {
		t.Error("the last bytes were given out")
	}
	if n, err := body.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Errorf("after the error: %d bytes, %v", n, err)
	}
}

func TestNeverMoreThanAskedFor(t *testing.T) {
	p, d := content(1000)
	c, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(p) }) // ignores ranges
	body, err := c.ReadBlob(t.Context(), anonymous(), d, 1000, 10, 20)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = body.Close() }()
	buffer := make([]byte, 500)
	n, err := io.ReadFull(body, buffer)
	if n != 20 || !errors.Is(err, io.ErrUnexpectedEOF) || !bytes.Equal(buffer[:n], p[10:30]) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func TestRangesSupportedIsLearned(t *testing.T) {
	p, d := content(1000)
	ignore := true
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if ignore {
			r.Header.Del("Range")
		}
		serveContent(w, r, p)
	})
	for _, step := range []struct {
		ignore bool
		n      blob.ByteCount
		want   bool
	}{{true, 1000, true}, {true, 10, false}, {false, 1000, false}, {false, 10, true}} {
		ignore = step.ignore
		if _, err := read(t.Context(), c, anonymous(), d, 1000, 0, step.n); err != nil {
			t.Fatal(err)
		}
		if got := c.RangesSupported("REG.example"); got != step.want {
			t.Errorf("%+v: RangesSupported = %v", step, got)
		}
	}
}

func TestStatuses(t *testing.T) {
	_, d := content(10)
	later := time.Now().Add(30 * time.Minute).UTC().Format(http.TimeFormat)
	for _, s := range []struct {
		code       int
		is         error
		temporary  bool
		retryAfter string
		wait       func(time.Duration) bool
	}{
		{code: 401, is: ErrUnauthorized},
		{code: 403, is: ErrUnauthorized},
		{code: 404, is: ErrNotFound},
		{code: 410, is: ErrNotFound},
		{code: 400},
		{code: 304},
		{code: 451},
		{code: 408, temporary: true},
		{code: 500, temporary: true},
		{code: 503, temporary: true, retryAfter: "7", wait: func(d time.Duration) bool { return d == 7*time.Second }},
		{code: 429, is: ErrThrottled, temporary: true, retryAfter: "120", wait: func(d time.Duration) bool { return d == 2*time.Minute }},
		{code: 429, is: ErrThrottled, temporary: true, retryAfter: later, wait: func(d time.Duration) bool { return d > 20*time.Minute && d <= 30*time.Minute }},
		{code: 429, is: ErrThrottled, temporary: true, retryAfter: "99999999999999999999", wait: func(d time.Duration) bool { return d == 0 }},
		{code: 429, is: ErrThrottled, temporary: true, retryAfter: "9999999", wait: func(d time.Duration) bool { return d == time.Hour }},
		{code: 429, is: ErrThrottled, temporary: true, retryAfter: "-5", wait: func(d time.Duration) bool { return d == 0 }},
		{code: 429, is: ErrThrottled, temporary: true, retryAfter: "Mon, 02 Jan 2006 15:04:05 GMT", wait: func(d time.Duration) bool { return d == 0 }},
	} {
		t.Run(fmt.Sprint(s.code, s.retryAfter), func(t *testing.T) {
			c, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", s.retryAfter)
				w.Header().Set("WWW-Authenticate", `Bearer realm="https://auth.example/token"`)
				w.WriteHeader(s.code)
				_, _ = io.WriteString(w, strings.Repeat("x", 100))
			})
			_, err := c.ReadBlob(t.Context(), anonymous(), d, 10, 0, 10)
			status, ok := errors.AsType[*StatusError](err)
			if !ok || status.Code != s.code || status.Registry != reg {
				t.Fatalf("error %v", err)
			}
			for _, sentinel := range []error{ErrUnauthorized, ErrNotFound, ErrThrottled, ErrUnreachable, io.ErrUnexpectedEOF} {
				if errors.Is(err, sentinel) != (s.is != nil && errors.Is(s.is, sentinel)) {
					t.Errorf("%v matches %v: %v", err, sentinel, errors.Is(err, sentinel))
				}
			}
			if Temporary(err) != s.temporary {
				t.Errorf("%v: temporary %v", err, Temporary(err))
			}
			if s.wait != nil && !s.wait(status.RetryAfter) {
				t.Errorf("retry after %s", status.RetryAfter)
			}
			if got := len(status.Challenges) > 0; got != (s.code == 401) {
				t.Errorf("challenges %q", status.Challenges)
			}
		})
	}
}

func TestCancelled(t *testing.T) {
	p, d := content(1000)
	began := make(chan struct{})
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") == "" {
			part := p[:10]
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write(part)
			_ = http.NewResponseController(w).Flush()
		}
		close(began)
		<-r.Context().Done()
	})
	why := errors.New("the caller has its reasons")
	for _, n := range []blob.ByteCount{1000, 10} { // cut in the body, cut before the headers
		began = make(chan struct{})
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() { <-began; cancel(why) }()
		_, err := read(ctx, c, anonymous(), d, 1000, 0, n)
		if !errors.Is(err, why) || !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnreachable) || Temporary(err) {
			t.Errorf("read of %d: %v", n, err)
		}
	}
}
