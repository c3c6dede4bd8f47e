package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/upstream"
)

// pulled makes a kit that has seen the manifest of an image with one layer.
func pulled(t *testing.T, layer []byte, change func(*Config, *Deps)) (*kit, blob.Digest) {
	t.Helper()
	k := newKit(t, change)
	img := k.registry.push(testRepo, "v1", layer)
	k.manifest("GET", img.digest.String()).want(t, 200)
	k.registry.asked("")
	return k, digestOf(layer)
}

func TestBlobProven(t *testing.T) {
	layer := pattern(1, 300_000)
	k, d := pulled(t, layer, nil)
	k.blobs.hold(layer)

	h := k.blob("HEAD", d).want(t, 200)
	g := k.blob("GET", d).want(t, 200).wantBytes(t, layer)
	for _, a := range []answered{h, g} {
		if a.length != 300_000 || a.header.Get("Docker-Content-Digest") != d.String() || a.header.Get("Content-Type") != octetStream ||
			a.header.Get("Accept-Ranges") != "bytes" || a.header.Get("Content-Encoding") != "" || a.header.Get("ETag") != `"`+d.String()+`"` {
			t.Errorf("headers %v, length %d", a.header, a.length)
		}
	}
	if got := k.registry.asked(""); len(got) != 0 {
		t.Errorf("a blob that a granted manifest names asked upstream %v", got)
	}
	k.blob("GET", d, "If-None-Match", `"x", W/"`+d.String()+`"`).want(t, 304)
	k.eventually(func() bool { return k.blobs.openBodies() == 0 })
	if got := k.proxy.Counts(); got.SentBytes < 300_000 || got.DirectBytes != 0 {
		t.Errorf("counted %d sent, %d direct", got.SentBytes, got.DirectBytes)
	}
}

func TestBlobRangesProven(t *testing.T) {
	layer := pattern(1, 10_000)
	k, d := pulled(t, layer, nil)
	k.blobs.hold(layer)
	etag := `"` + d.String() + `"`
	for _, c := range []struct {
		header  []string
		code    int
		content string
		body    []byte
	}{
		{[]string{"Range", "bytes=0-"}, 206, "bytes 0-9999/10000", layer},
		{[]string{"Range", "bytes=4097-"}, 206, "bytes 4097-9999/10000", layer[4097:]},
		{[]string{"Range", "bytes=5-9"}, 206, "bytes 5-9/10000", layer[5:10]},
		{[]string{"Range", "bytes=-7"}, 206, "bytes 9993-9999/10000", layer[9993:]},
		{[]string{"Range", "bytes=9990-99999"}, 206, "bytes 9990-9999/10000", layer[9990:]},
		{[]string{"Range", "bytes=9-", "If-Range", etag}, 206, "bytes 9-9999/10000", layer[9:]},
		{[]string{"Range", "bytes=9-", "If-Range", `"other"`}, 200, "", layer},
		{[]string{"Range", "bytes=9-", "If-Range", "Wed, 21 Oct 2015 07:28:00 GMT"}, 200, "", layer},
		{[]string{"Range", "bytes=x"}, 200, "", layer},
		{[]string{"Range", "lines=1-2"}, 200, "", layer},
	} {
		a := k.blob("GET", d, c.header...).want(t, c.code).wantBytes(t, c.body)
		if a.header.Get("Content-Range") != c.content || a.length != int64(len(c.body)) {
			t.Errorf("%v: %q of %d", c.header, a.header.Get("Content-Range"), a.length)
		}
	}
	a := k.blob("GET", d, "Range", "bytes=10000-").want(t, 416)
	if a.header.Get("Content-Range") != "bytes */10000" {
		t.Errorf("416 with %v", a.header)
	}
}

func TestBlobMultiRange(t *testing.T) {
	layer := pattern(1, 10_000)
	k, d := pulled(t, layer, nil)
	k.blobs.update(func() { k.blobs.content[d], k.blobs.rows[d] = layer, 5000 })
	a := k.blob("GET", d, "Range", "bytes=100-199,300-309").want(t, 206).wantBytes(t, layer[100:310])
	if a.header.Get("Content-Range") != "bytes 100-309/10000" {
		t.Errorf("not proven: %v", a.header)
	}

	k.blobs.hold(layer)
	a = k.blob("GET", d, "Range", "bytes=100-199,-10").want(t, 206)
	kind, params, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil || kind != "multipart/byteranges" || a.length != int64(len(a.body)) {
		t.Fatalf("%v, %d of %d bytes", a.header, len(a.body), a.length)
	}
	parts := multipart.NewReader(bytes.NewReader(a.body), params["boundary"])
	for _, want := range []struct {
		content string
		body    []byte
	}{{"bytes 100-199/10000", layer[100:200]}, {"bytes 9990-9999/10000", layer[9990:]}} {
		part, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(part)
		if err != nil || !bytes.Equal(body, want.body) || part.Header.Get("Content-Range") != want.content {
			t.Errorf("part %v of %d bytes (%v)", part.Header, len(body), err)
		}
	}
	if _, err := parts.NextPart(); !errors.Is(err, io.EOF) {
		t.Errorf("after the last part: %v", err)
	}
}

func TestBlobEmpty(t *testing.T) {
	k, d := pulled(t, nil, nil)
	k.blobs.hold(nil)
	k.blob("HEAD", d).want(t, 200)
	a := k.blob("GET", d, "Range", "bytes=0-").want(t, 200).wantBytes(t, nil)
	if a.length != 0 {
		t.Errorf("length %d", a.length)
	}
}

// Nobody said anything about the blob yet: upstream says whether it is there.
func TestBlobUnnamed(t *testing.T) {
	k := newKit(t, nil)
	layer := pattern(1, 5000)
	k.registry.push(testRepo, "v1", layer)
	k.blobs.hold(layer)
	d := digestOf(layer)
	k.blob("GET", d).want(t, 200).wantBytes(t, layer)
	if got := k.registry.asked(""); len(got) != 1 || !strings.HasPrefix(got[0], "HEAD ") {
		t.Errorf("asked %v", got)
	}
	if got := k.blobs.opened[0]; got.Size != 5000 || got.Blob != d || got.Source.Name != testRepo {
		t.Errorf("opened %+v", got)
	}
	k.blob("GET", digestOf([]byte("x"))).want(t, 404)
	k.blob("HEAD", digestOf([]byte("x"))).want(t, 404)
}

// Before the headers every error is cheap, and has the status that sends a client on.
func TestBlobErrorsBeforeHeaders(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
	}{
		{fmt.Errorf("x: %w", upstream.ErrNotFound), 404},
		{&upstream.StatusError{Code: 410}, 410},
		{fmt.Errorf("x: %w", upstream.ErrUnauthorized), 401},
		{&upstream.StatusError{Code: 403}, 403},
		{&upstream.StatusError{Code: 401, Challenges: []string{`Basic realm="x"`}}, 401},
		{&upstream.StatusError{Code: 429}, 503},
		{fmt.Errorf("x: %w", upstream.ErrUnreachable), 503},
	} {
		layer := pattern(1, 300_000)
		k, d := pulled(t, layer, nil)
		k.blobs.update(func() { k.blobs.failed[d] = c.err })
		want := c.code
		if want == 410 {
			want = 404
		}
		a := k.blob("GET", d).want(t, want)
		if !strings.Contains(string(a.body), `"errors"`) || a.header.Get("Docker-Content-Digest") != "" {
			t.Errorf("%v: %v %s", c.err, a.header, a.body)
		}
		if c.code == 401 && strings.Contains(fmt.Sprint(c.err), "401") != (a.header.Get("WWW-Authenticate") != "") {
			t.Errorf("%v: challenge %q", c.err, a.header.Get("WWW-Authenticate"))
		}
		k.blobs.update(func() { k.blobs.refuse = c.err })
		k.blob("GET", d).want(t, want)
	}
}

// A download that failed here, for whatever reason, fails no pull (P2): the client gets what
// the registry alone could have served, whether before the headers or after.
func TestBlobReadThrough(t *testing.T) {
	layer := pattern(1, 300_000)
	full := errors.New("no space left on device")
	t.Run("open", func(t *testing.T) {
		k, d := pulled(t, layer, nil)
		k.blobs.refuse = full
		k.blob("GET", d).want(t, 200).wantBytes(t, layer)
		k.blob("GET", d, "Range", "bytes=1000-").want(t, 206).wantBytes(t, layer[1000:])
		k.eventually(func() bool { return k.proxy.Counts().DirectBytes == 300_000+299_000 }) // counted after the last byte
	})
	t.Run("before headers", func(t *testing.T) {
		k, d := pulled(t, layer, nil)
		k.blobs.update(func() { k.blobs.failed[d] = full })
		k.blob("GET", d).want(t, 200).wantBytes(t, layer)
	})
	t.Run("in the body", func(t *testing.T) {
		k, d := pulled(t, layer, nil)
		k.blobs.update(func() { k.blobs.content[d], k.blobs.rows[d], k.blobs.failed[d] = layer, 100_000, full })
		k.blob("GET", d).want(t, 200).wantBytes(t, layer)
		k.eventually(func() bool { return k.proxy.Counts().DirectBytes == uint64(300_000-100_000+reserve) })
	})
	t.Run("while bytes are read", func(t *testing.T) {
		k, d := pulled(t, layer, nil)
		k.blobs.update(func() {
			k.blobs.content[d], k.blobs.rows[d] = layer, 200_000
			k.blobs.onRead = func() error {
				k.blobs.rows[d], k.blobs.failed[d] = 0, full
				return errors.New("the partial file is closed")
			}
		})
		k.blob("GET", d).want(t, 200).wantBytes(t, layer)
	})
	t.Run("bytes that are announced and never given", func(t *testing.T) {
		k, d := pulled(t, layer, nil)
		k.blobs.update(func() {
			k.blobs.content[d], k.blobs.rows[d] = layer, 200_000
			k.blobs.onRead = func() error { return errors.New("unreadable") }
		})
		if a := k.blob("GET", d); a.err == nil && a.code == http.StatusOK {
			t.Errorf("answer %d with %d bytes", a.code, len(a.body))
		}
	})
	t.Run("wrong bytes", func(t *testing.T) {
		k, d := pulled(t, layer, nil)
		k.blobs.refuse = full
		wrong := bytes.Clone(layer)
		wrong[299_999]++
		k.registry.answer(blobAnswer(wrong))
		if a := k.blob("GET", d); !errors.Is(a.err, io.ErrUnexpectedEOF) || len(a.body) != 300_000-int(reserve) {
			t.Errorf("%d bytes, %v: want a cut body", len(a.body), a.err)
		}
	})
}

// blobAnswer serves p as every blob.
func blobAnswer(p []byte) func(http.ResponseWriter, *http.Request) bool {
	return func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(p))
		return true
	}
}

// After the headers a failure is a FIN in the middle of the body: not a reset, and never a
// clean end. containerd resumes after the former only.
func TestBlobCutIsFIN(t *testing.T) {
	layer := pattern(1, 3_000_000)
	k, d := pulled(t, layer, nil)
	k.blobs.update(func() { k.blobs.content[d], k.blobs.rows[d] = layer, 1_000_000 })

	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", k.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ask(t, conn, d)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	got := make([]byte, 1_000_000-int(reserve))
	if _, err := io.ReadFull(res.Body, got); err != nil || !bytes.Equal(got, layer[:len(got)]) {
		t.Fatalf("first bytes: %v", err)
	}
	k.blobs.update(func() { k.blobs.failed[d] = upstream.ErrUnreachable })
	rest, err := io.ReadAll(res.Body)
	if !errors.Is(err, io.ErrUnexpectedEOF) || len(rest) != 0 {
		t.Errorf("the body ended with %v after %d more bytes, want a FIN", err, len(rest))
	}
}

// ask sends a request for a blob as containerd's concurrent fetcher does.
func ask(t *testing.T, conn net.Conn, d blob.Digest) {
	t.Helper()
	_, err := fmt.Fprintf(conn, "GET /v2/%s/blobs/%s?ns=%s HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-\r\n\r\n", testRepo, d, testRegistry)
	if err != nil {
		t.Fatal(err)
	}
}

// A client that goes away frees its body, whether the proxy was waiting or writing.
func TestBlobClientLeaves(t *testing.T) {
	layer := pattern(1, 8_000_000)
	for what, row := range map[string]int{"waiting": 0, "writing": len(layer)} {
		t.Run(what, func(t *testing.T) {
			k, d := pulled(t, layer, nil)
			k.blobs.update(func() { k.blobs.content[d], k.blobs.rows[d] = layer, row })
			var dialer net.Dialer
			conn, err := dialer.DialContext(t.Context(), "tcp", k.server.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			ask(t, conn, d)
			k.eventually(func() bool { return len(k.blobs.snapshot()) > 0 })
			if row > 0 {
				if _, err := io.CopyN(io.Discard, conn, 1000); err != nil {
					t.Fatal(err)
				}
			}
			_ = conn.Close()
			k.eventually(func() bool {
				got := k.outcomes()
				return got["blob left"]+got["blob unavailable"] == 1
			})
			k.eventually(func() bool { return k.blobs.openBodies() == 0 })
		})
	}
}

// A registry whose HEAD of a blob leads to a place that only allows GET.
func TestBlobHeadForbidden(t *testing.T) {
	layer := pattern(1, 5000)
	k, d := pulled(t, layer, func(c *Config, _ *Deps) { c.GrantTTL = time.Nanosecond })
	k.blobs.hold(layer)
	k.registry.answer(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodHead {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return blobAnswer(layer)(w, r)
	})
	k.blob("GET", d).want(t, 200).wantBytes(t, layer)
	k.registry.status(http.StatusForbidden)
	k.blob("GET", d).want(t, 403)
}
