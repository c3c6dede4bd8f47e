package proxy

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

// dial opens a connection to the server and says the beginning of a request on it.
func (k *kit) dial(says string) net.Conn {
	k.t.Helper()
	c, err := new(net.Dialer).DialContext(k.t.Context(), "tcp", k.server.Listener.Addr().String())
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { _ = c.Close() })
	if _, err := io.WriteString(c, says); err != nil {
		k.t.Fatal(err)
	}
	return c
}

// unfinished is a request whose headers do not end.
const unfinished = "GET /v2/ HTTP/1.1\r\nHost: localhost\r\nX-Slow: "

// Two thousand connections that never finish a request cost an honest client nothing, and
// are not all kept.
func TestSlowLoris(t *testing.T) {
	k := newKit(t, nil)
	img := k.registry.push(testRepo, "v1", pattern(1, 5000))
	conns := make([]net.Conn, 2000)
	for i := range conns {
		conns[i] = k.dial(unfinished)
	}
	for range 20 {
		began := time.Now()
		k.manifest("GET", "v1").want(t, 200).wantBytes(t, img.manifest)
		if took := time.Since(began); took > time.Second {
			t.Errorf("an honest request took %v", took)
		}
	}
	// The first ones were pushed out: reading from them ends.
	bound := 2 * Config{}.withDefaults().MaxRequests
	for i, c := range conns[:len(conns)-bound] {
		_ = c.SetReadDeadline(time.Now().Add(headerWait / 2))
		if _, err := c.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Fatalf("connection %d of %d with room for %d: %v", i, len(conns), bound, err)
		}
	}
}

func isTimeout(err error) bool {
	limit, ok := errors.AsType[net.Error](err)
	return ok && limit.Timeout()
}

// Whoever is served stays; of those who wait, the one that waited longest makes room; and who
// finds every place for requests taken is told so.
func TestPlacesAreBounded(t *testing.T) {
	k := newKit(t, func(c *Config, _ *Deps) { c.MaxRequests = 2 }) // so four connections
	k.registry.push(testRepo, "v1", pattern(1, 5000))
	release := make(chan struct{})
	arrived := make(chan struct{}, 8)
	k.registry.answer(func(http.ResponseWriter, *http.Request) bool {
		arrived <- struct{}{}
		<-release
		return false
	})
	var served sync.WaitGroup
	codes := make(chan int, 2)
	for range 2 {
		served.Go(func() { codes <- k.manifest("HEAD", "v1").code })
		<-arrived
	}
	first, second := k.dial(unfinished), k.dial(unfinished)
	a := k.do("GET", "/v2/").want(t, 503)
	if !strings.Contains(string(a.body), "as many requests as it may") {
		t.Errorf("body %s", a.body)
	}
	if _, err := first.Read(make([]byte, 1)); err == nil {
		t.Error("the connection that waited longest is still there")
	}
	if _, err := io.WriteString(second, "x\r\n\r\n"); err != nil {
		t.Error(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(second), nil)
	if err != nil || res.StatusCode != 503 {
		t.Errorf("the one that waited less: %v, %v", res, err)
	} else {
		_ = res.Body.Close()
	}
	close(release)
	served.Wait()
	for range 2 {
		if code := <-codes; code != 200 {
			t.Errorf("a request under way ended with %d", code)
		}
	}
	k.do("GET", "/v2/").want(t, 200)
}

// servePipes serves a Proxy without upstreams, and returns how to connect to it.
func servePipes(t *testing.T) (dial func() net.Conn, stop func()) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	p, err := New(Config{}, Deps{
		Upstream: &hungUpstream{}, Blobs: newBlobs(t), Store: &memStore{held: map[blob.Digest][]byte{}}, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	l := newPipeListener()
	server := NewServer(Config{}, p, log)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	dial = func() net.Conn {
		near, far := net.Pipe()
		l.conns <- far
		return near
	}
	return dial, func() {
		if err := server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}
}

// Every silence of a client has an end: in the headers, in a body that no pull has, and
// between two requests.
func TestSilenceEnds(t *testing.T) {
	const ping = "GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n"
	for what, c := range map[string]struct {
		says    string
		dribble bool // one more byte every second
		answers []int
		within  time.Duration
	}{
		"nothing":      {within: headerWait},
		"headers":      {says: unfinished, dribble: true, within: headerWait},
		"next headers": {says: ping + unfinished, dribble: true, answers: []int{200}, within: headerWait},
		"no next":      {says: ping, answers: []int{200}, within: idleWait},
		"body":         {says: "POST /v2/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n", answers: []int{405}, within: bodyWait},
		"body of GET":  {says: "GET /v2/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n", dribble: true, answers: []int{400}, within: bodyWait},
		"chunks":       {says: "PUT /v2/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n", dribble: true, answers: []int{405}, within: bodyWait},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dial, stop := servePipes(t)
				conn := dial()
				began := time.Now()
				var saying sync.WaitGroup
				defer func() { _ = conn.Close(); saying.Wait(); stop() }()
				saying.Go(func() {
					_, err := io.WriteString(conn, c.says)
					for c.dribble && err == nil {
						time.Sleep(time.Second) // of the bubble
						_, err = io.WriteString(conn, "a")
					}
				})
				answers := bufio.NewReader(conn)
				for _, want := range c.answers {
					res, err := http.ReadResponse(answers, nil)
					if err != nil || res.StatusCode != want {
						t.Fatalf("answer %v, %v, want %d", res, err, want)
					}
					_, _ = io.Copy(io.Discard, res.Body)
					_ = res.Body.Close()
				}
				_, err := io.Copy(io.Discard, answers)
				if took := time.Since(began); took > c.within+time.Second {
					t.Errorf("the connection ended after %v (%v), want %v", took, err, c.within)
				}
			})
		})
	}
}

// An answer to somebody who is sending a body is not lost with the connection.
func TestBodyIsRefusedAtOnce(t *testing.T) {
	k := newKit(t, nil)
	for _, length := range []int{1, 100_000, 5_000_000} {
		r, err := http.NewRequestWithContext(t.Context(), "POST", k.server.URL+"/v2/a/b/blobs/uploads/", strings.NewReader(strings.Repeat("a", length)))
		if err != nil {
			t.Fatal(err)
		}
		res, err := k.client.Do(r)
		if err != nil {
			t.Fatalf("%d bytes: %v", length, err)
		}
		text, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != 405 || !strings.Contains(string(text), "UNSUPPORTED") || !res.Close {
			t.Errorf("%d bytes: %d %s (%v)", length, res.StatusCode, text, err)
		}
	}
}
