package upstream

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// closedPort returns an address that refuses connections.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// speaker accepts connections and says one thing to whatever comes.
func speaker(t *testing.T, says string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 4096))
			_, _ = io.WriteString(conn, says)
			_ = conn.Close()
		}
	}()
	return l.Addr().String()
}

func TestUnreachable(t *testing.T) {
	_, d := content(10)
	silent := start(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	pool := x509.NewCertPool()
	secure := startTLS(t, x509.NewCertPool(), func(http.ResponseWriter, *http.Request) {})
	for name, s := range map[string]struct {
		base        string
		reason      string
		certificate bool
	}{
		"refused":             {"http://" + closedPort(t), "connection refused", false},
		"closes":              {"http://" + speaker(t, ""), "closed the connection", false},
		"not HTTP":            {"http://" + speaker(t, "220 mail.example ESMTP\r\n"), "not HTTP", false},
		"not TLS":             {"https://" + speaker(t, "HTTP/1.0 400 Bad Request\r\n\r\n"), "does not speak TLS", false},
		"unknown certificate": {secure.URL, "certificate", true},
		"silent":              {silent.URL, "timed out", false},
		"endless headers":     {"http://" + speaker(t, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("a", maxHeaderBytes)+"\r\n\r\n"), "", false},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, Config{Upstreams: map[string]string{reg: s.base}, RootCAs: pool, HeaderTimeout: 100 * time.Millisecond})
			_, err := c.ReadBlob(t.Context(), anonymous(), d, 10, 0, 10)
			unreachable, ok := errors.AsType[*UnreachableError](err)
			if !ok || !errors.Is(err, ErrUnreachable) || unreachable.Certificate != s.certificate || !strings.Contains(unreachable.Reason, s.reason) {
				t.Fatalf("error %v", err)
			}
			if Temporary(err) == s.certificate {
				t.Errorf("%v: temporary %v", err, Temporary(err))
			}
			if got := c.Stats()[reg]; got.Failures != 1 {
				t.Errorf("counted %+v", got)
			}
			r := Request{Method: "GET", Endpoint: EndpointPing, Repository: Repository{Registry: reg}}
			if _, err := forward(t, c, r); !errors.Is(err, ErrUnreachable) {
				t.Errorf("forwarding: %v", err)
			}
		})
	}
}

func TestReasons(t *testing.T) {
	for want, err := range map[string]error{
		"no such host":              &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "x.example", IsNotFound: true}},
		"its name does not resolve": &net.OpError{Op: "dial", Err: &net.DNSError{Err: "server misbehaving", Name: "x.example", IsTemporary: true}},
		"timed out":                 &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded},
		"connection reset by peer":  &net.OpError{Op: "read", Err: os.NewSyscallError("read", syscall.ECONNRESET)},
		"it closed the connection":  fmt.Errorf("reading: %w", io.ErrUnexpectedEOF),
		"the connection broke, or the answer is not HTTP": errors.New("anything at all"),
	} {
		if got := reason(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}

// A trickle is a body that gives one byte after each pause, and obeys its request's context.
type trickle struct {
	done  <-chan struct{}
	pause time.Duration
	left  int
}

func (b *trickle) Read(p []byte) (int, error) {
	if b.left == 0 {
		return 0, io.EOF
	}
	select {
	case <-time.After(b.pause):
	case <-b.done:
		return 0, errors.New("request cancelled")
	}
	b.left--
	p[0] = 'x'
	return 1, nil
}

func (b *trickle) Close() error { return nil }

// trickling answers every request with n slow bytes.
func trickling(pause time.Duration, status int) transportFunc {
	return func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		w.WriteHeader(status)
		resp := w.Result()
		resp.ContentLength = 10
		resp.Body = &trickle{done: r.Context().Done(), pause: pause, left: 10}
		return resp, nil
	}
}

func TestStall(t *testing.T) {
	_, d := content(10)
	for _, s := range []struct {
		pause time.Duration
		stall bool
		cost  time.Duration
	}{{29 * time.Second, false, 290 * time.Second}, {31 * time.Second, true, 30 * time.Second}} {
		synctest.Test(t, func(t *testing.T) {
			c := newClient(t, Config{RoundTripper: trickling(s.pause, 200)})
			began := time.Now()
			_, err := read(t.Context(), c, anonymous(), d, 10, 0, 10)
			if cost := time.Since(began); cost != s.cost {
				t.Errorf("pause %s: ended after %s, want %s", s.pause, cost, s.cost)
			}
			cut, ok := errors.AsType[*TruncatedError](err)
			if ok != s.stall || s.stall && (!cut.Stalled || !errors.Is(err, ErrUnreachable) || !errors.Is(err, io.ErrUnexpectedEOF) || !Temporary(err)) {
				t.Errorf("pause %s: %v", s.pause, err)
			}
		})
	}
}

// The time that a slow reader takes between two reads is not the upstream's fault.
func TestSlowReaderIsNoStall(t *testing.T) {
	_, d := content(10)
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, Config{RoundTripper: trickling(time.Second, 200)})
		body, err := c.ReadBlob(t.Context(), anonymous(), d, 10, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = body.Close() }()
		for range 10 {
			time.Sleep(time.Hour) // virtual
			if n, err := body.Read(make([]byte, 1)); n != 1 {
				t.Fatal(err)
			}
		}
	})
}

func TestStallWhileForwarding(t *testing.T) {
	for _, status := range []int{200, 500} {
		synctest.Test(t, func(t *testing.T) {
			c := newClient(t, Config{RoundTripper: trickling(time.Minute, status)})
			r := Request{Method: "GET", Endpoint: EndpointTags, Repository: anonymous().Repository}
			began := time.Now()
			got, err := forward(t, c, r)
			if time.Since(began) != 30*time.Second || got == nil || got.body != "" {
				t.Errorf("%d: %+v after %s", status, got, time.Since(began))
			}
			if errors.Is(err, ErrUnreachable) != (status == 200) {
				t.Errorf("%d: %v", status, err)
			}
		})
	}
}

// A real connection that stalls is torn down, so that nothing waits for it for ever.
func TestStallEndsTheRequest(t *testing.T) {
	_, d := content(10)
	gone := make(chan struct{})
	srv := start(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "12345")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(gone)
	})
	c := newClient(t, Config{Upstreams: map[string]string{reg: srv.URL}, StallTimeout: 50 * time.Millisecond})
	got, err := read(t.Context(), c, anonymous(), d, 10, 0, 10)
	if len(got) != 5 || !errors.Is(err, ErrUnreachable) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	<-gone
}

func TestCloseEndsTheRequest(t *testing.T) {
	_, d := content(10)
	gone := make(chan struct{})
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "10")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(gone)
	})
	body, err := c.ReadBlob(t.Context(), anonymous(), d, 10, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	reading := make(chan error)
	go func() {
		_, err := body.Read(make([]byte, 1))
		reading <- err
	}()
	_ = body.Close()
	_ = body.Close()
	if err := <-reading; err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a read of a closed body: %v", err)
	}
	<-gone
}
