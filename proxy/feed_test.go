package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/upstream"
)

// What depends on time runs in a synctest bubble: server and client speak over pipes.

// A pipeListener hands out the server's ends of pipes.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// directUpstream delivers a blob and answers nothing else.
type directUpstream struct {
	mu    sync.Mutex
	reads []string
	at    []time.Time
	bytes []byte
}

func (u *directUpstream) Forward(context.Context, upstream.Request) (*http.Response, error) {
	return nil, upstream.ErrUnreachable
}

func (u *directUpstream) ReadBlob(
	_ context.Context, _ upstream.Source, _ blob.Digest, size, off, n blob.ByteCount,
) (io.ReadCloser, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.reads = append(u.reads, fmt.Sprintf("%d+%d/%d", off, n, size))
	u.at = append(u.at, time.Now())
	return io.NopCloser(bytes.NewReader(u.bytes[off : off+n])), nil
}

func (u *directUpstream) ShowsCertificate(string) bool { return false }

// A pull is one client's GET of one blob in a bubble.
type pull struct {
	t     *testing.T
	blobs *fakeBlobs
	up    *directUpstream
	layer []byte
	d     blob.Digest
	began time.Time
	conn  net.Conn
	gone  func()

	mu       sync.Mutex
	response *http.Response
	headerAt time.Duration
	got      []byte
	at       []time.Duration // when each part of got came
	end      error           // why reading ended; nil while it goes on
	ended    bool
}

// startPull begins GET of a layer of size bytes. Whatever is to be there from the start is put there by set.
func startPull(t *testing.T, size int, rangeHeader string, set func(p *pull)) *pull {
	t.Helper()
	p := &pull{t: t, blobs: newBlobs(t), layer: pattern(7, size), began: time.Now()}
	p.d = digestOf(p.layer)
	p.blobs.content[p.d] = p.layer
	p.up = &directUpstream{bytes: p.layer}
	if set != nil {
		set(p)
	}
	proxy, err := New(Config{}, Deps{
		Upstream: p.up, Blobs: p.blobs, Store: &memStore{held: map[blob.Digest][]byte{}}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	proxy.grants.accept(repository, proxy.grants.anon, KindManifest)
	proxy.names.learn(repository, p.d, name{Size: blob.ByteCount(size), Upstream: true})

	listener := newPipeListener()
	server := NewServer(Config{}, proxy, slog.New(slog.DiscardHandler))
	var running sync.WaitGroup
	running.Go(func() { _ = server.Serve(listener) })
	client, served := net.Pipe()
	listener.conns <- served
	p.conn = client
	p.gone = sync.OnceFunc(func() {
		_ = client.Close()
		_ = server.Close()
		running.Wait()
	})
	t.Cleanup(p.gone)
	request := fmt.Sprintf("GET /v2/%s/blobs/%s?ns=%s HTTP/1.1\r\nHost: localhost\r\n", testRepo, p.d, testRegistry)
	if rangeHeader != "" {
		request += "Range: " + rangeHeader + "\r\n"
	}
	if _, err := io.WriteString(client, request+"\r\n"); err != nil {
		t.Fatal(err)
	}
	return p
}

// read takes the answer as it comes.
func (p *pull) read() *pull {
	go func() {
		res, err := http.ReadResponse(bufio.NewReader(p.conn), nil)
		p.mu.Lock()
		p.response, p.headerAt = res, time.Since(p.began)
		p.mu.Unlock()
		buf := make([]byte, 64<<10)
		for err == nil {
			var n int
			n, err = res.Body.Read(buf)
			p.mu.Lock()
			if n > 0 {
				p.got = append(p.got, buf[:n]...)
				p.at = append(p.at, time.Since(p.began))
			}
			p.mu.Unlock()
		}
		if res != nil {
			_ = res.Body.Close() // what was wrong with it was seen while reading
		}
		p.mu.Lock()
		p.end, p.ended = err, true
		p.mu.Unlock()
	}()
	return p
}

// after lets time pass until d after the request.
func (p *pull) after(d time.Duration) {
	time.Sleep(time.Until(p.began.Add(d)))
	synctest.Wait()
}

// wantBytes fails unless exactly layer[off:off+n] came so far.
func (p *pull) wantBytes(off, n int) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !bytes.Equal(p.got, p.layer[off:off+n]) {
		p.t.Fatalf("%v: %d bytes came, want %d from %d", time.Since(p.began), len(p.got), n, off)
	}
}

// wantHeader fails unless the headers came at d; a negative d is not yet.
func (p *pull) wantHeader(code int, d time.Duration) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if (p.response != nil) != (d >= 0) || p.response != nil && (p.response.StatusCode != code || p.headerAt != d) {
		p.t.Fatalf("%v: headers %v at %v, want %d at %v", time.Since(p.began), p.response, p.headerAt, code, d)
	}
}

// wantEnd fails unless the body ended so: io.EOF for all of it.
func (p *pull) wantEnd(err error) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended || !errors.Is(p.end, err) {
		p.t.Fatalf("%v: ended %v with %v, want %v", time.Since(p.began), p.ended, p.end, err)
	}
}

func (p *pull) available(n int) { p.blobs.update(func() { p.blobs.rows[p.d] = n }) }
func (p *pull) prove()          { p.blobs.update(func() { p.blobs.proven[p.d] = true }) }

const mib = 1 << 20

// Nothing is here: the headers go out after 10 s all the same, because clients give up at 30 s.
func TestFeedHeadersAfterTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPull(t, mib, "", nil).read()
		p.after(10*time.Second - 1)
		p.wantHeader(0, -1)
		p.after(10 * time.Second)
		p.wantHeader(200, 10*time.Second)
		p.after(4 * time.Minute)
		p.wantBytes(0, 0)
		p.prove()
		synctest.Wait()
		p.wantBytes(0, mib)
		p.wantEnd(io.EOF)
		p.gone()
	})
}

// Bytes read from upstream go out as they come, less the reserve; that is dripped, so that
// containerd's five minutes without a byte never pass.
func TestFeedDrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPull(t, 4*mib, "", nil).read()
		p.after(2 * time.Second)
		p.available(mib)
		synctest.Wait()
		p.wantHeader(200, 2*time.Second)
		head := mib - int(reserve)
		p.wantBytes(0, head)
		for i := range 64 {
			p.after(2*time.Second + time.Duration(i+1)*30*time.Second - 1)
			p.wantBytes(0, head+i*1024)
			p.after(2*time.Second + time.Duration(i+1)*30*time.Second)
			p.wantBytes(0, head+(i+1)*1024)
		}
		p.after(time.Hour)
		p.wantBytes(0, mib) // the reserve is used up
		p.available(2 * mib)
		synctest.Wait()
		p.wantBytes(0, 2*mib-int(reserve))
		p.prove()
		synctest.Wait()
		p.wantBytes(0, 4*mib)
		p.wantEnd(io.EOF)
		p.mu.Lock()
		for i := 1; i < len(p.at); i++ {
			if gap := p.at[i] - p.at[i-1]; gap > 30*time.Second && p.at[i] < 30*time.Minute {
				t.Errorf("no byte for %v", gap)
			}
		}
		p.mu.Unlock()
		p.gone()
	})
}

// Every byte came from upstream, but the digest is wrong: the client never has all of them.
func TestFeedHoldsTheEndBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPull(t, mib, "", func(p *pull) { p.blobs.rows[p.d] = mib }).read()
		p.after(time.Second)
		p.wantBytes(0, mib-int(reserve))
		p.blobs.update(func() { p.blobs.failed[p.d] = fmt.Errorf("gone: %w", upstream.ErrUnreachable) })
		synctest.Wait()
		p.wantBytes(0, mib-int(reserve))
		p.wantEnd(io.ErrUnexpectedEOF)
		p.gone()
	})
}

// The proof failed: the end that was held back does not follow, not from upstream either.
func TestFeedCutsWrongBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPull(t, mib, "", func(p *pull) { p.blobs.rows[p.d] = mib }).read()
		p.after(time.Second)
		p.wantBytes(0, mib-int(reserve))
		p.blobs.update(func() { p.blobs.failed[p.d] = fmt.Errorf("download given up: %w", ErrWrongBytes) })
		synctest.Wait()
		p.wantBytes(0, mib-int(reserve))
		p.wantEnd(io.ErrUnexpectedEOF)
		if len(p.up.reads) != 0 {
			t.Errorf("upstream was asked for %v", p.up.reads)
		}
		p.gone()
	})
}

// A blob smaller than the reserve is not sent before it is proven.
func TestFeedSmallBlobWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPull(t, 1000, "", func(p *pull) { p.blobs.rows[p.d] = 1000 }).read()
		p.after(29 * time.Second)
		p.wantBytes(0, 0)
		p.prove()
		synctest.Wait()
		p.wantBytes(0, 1000)
		p.wantEnd(io.EOF)
		p.gone()
	})
}

// A lazy loader's range waits three seconds for the swarm and is then read from upstream.
func TestFeedLazyRange(t *testing.T) {
	for _, header := range []string{"bytes=500000-500999", "bytes=-1000", "bytes=0-1"} {
		synctest.Test(t, func(t *testing.T) {
			p := startPull(t, mib, header, nil).read()
			spans, err := parseRange(header, mib)
			if err != nil {
				t.Fatal(err)
			}
			p.after(3*time.Second - 1)
			p.wantHeader(0, -1)
			p.after(3 * time.Second)
			p.wantHeader(206, 3*time.Second)
			p.wantBytes(int(spans[0].Off), int(spans[0].Len))
			p.wantEnd(io.EOF)
			if want := fmt.Sprintf("[%d+%d/%d]", spans[0].Off, spans[0].Len, mib); fmt.Sprint(p.up.reads) != want {
				t.Errorf("read %v, want %s", p.up.reads, want)
			}
			p.gone()
		})
	}
}

// What is here serves it at once, without a reserve and without upstream.
func TestFeedLazyRangeAvailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPull(t, mib, "bytes=1000-1999", func(p *pull) { p.blobs.rows[p.d] = 2000 }).read()
		p.after(0)
		p.wantHeader(206, 0)
		p.wantBytes(1000, 1000)
		p.wantEnd(io.EOF)
		if len(p.up.reads) != 0 {
			t.Errorf("read %v from upstream", p.up.reads)
		}
		p.gone()
	})
}

// A part of a lazy range is here: the rest comes from upstream, three seconds after the last byte.
func TestFeedLazyRangeSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPull(t, mib, "bytes=1000-1999", func(p *pull) { p.blobs.rows[p.d] = 1500 }).read()
		p.after(0)
		p.wantBytes(1000, 500)
		p.after(3 * time.Second)
		p.wantBytes(1000, 1000)
		p.wantEnd(io.EOF)
		if fmt.Sprint(p.up.reads) != fmt.Sprintf("[1500+500/%d]", mib) {
			t.Errorf("read %v", p.up.reads)
		}
		p.gone()
	})
}

// A resume is no lazy loader: it waits for the swarm, but not for ever.
func TestFeedOpenRange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPull(t, mib, "bytes=600000-", nil).read()
		p.after(10 * time.Second)
		p.wantHeader(206, 10*time.Second)
		p.after(4*time.Minute - 1)
		p.wantBytes(0, 0)
		p.after(4 * time.Minute)
		p.wantBytes(600_000, mib-600_000)
		p.wantEnd(io.EOF)
		p.gone()
	})
}

// A whole blob is the engine's matter, however long it takes.
func TestFeedWholeIsNeverReadDirectly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPull(t, mib, "bytes=0-", nil).read()
		p.after(time.Hour)
		p.wantBytes(0, 0)
		if len(p.up.reads) != 0 {
			t.Errorf("read %v", p.up.reads)
		}
		p.gone()
	})
}

// A client that stops reading does not hold its body for ever.
func TestFeedClientStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPull(t, mib, "", func(p *pull) { p.blobs.proven[p.d] = true })
		p.after(5*time.Minute - 1)
		if p.blobs.openBodies() != 1 {
			t.Fatal("not open")
		}
		p.after(5 * time.Minute)
		if p.blobs.openBodies() != 0 {
			t.Error("a client that accepts nothing holds its body")
		}
		p.gone()
	})
}

// A client that goes away is noticed while nothing can be sent to it.
func TestFeedClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := startPull(t, mib, "", nil).read()
		p.after(15 * time.Second)
		_ = p.conn.Close()
		synctest.Wait()
		if p.blobs.openBodies() != 0 {
			t.Error("the body of a client that left is open")
		}
		p.gone()
	})
}
