package proxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

// stall asks for a blob and never reads more of the answer than its first bytes. It returns the status, 0
// when the connection was refused.
func (k *kit) stall(d blob.Digest) (status int) {
	k.t.Helper()
	r, err := http.NewRequestWithContext(k.t.Context(), "GET", k.server.URL+"/v2/"+testRepo+"/blobs/"+d.String()+"?ns=reg.example%3A5000", nil)
	if err != nil {
		k.t.Fatal(err)
	}
	res, err := k.client.Do(r)
	if err != nil {
		return 0
	}
	k.t.Cleanup(func() { _ = res.Body.Close() })
	return res.StatusCode
}

// Two thousand clients that ask for a layer and do not read it take neither the places nor the connections:
// an honest pull goes on, and so does an honest client that reads slowly.
func TestReadersThatStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newPipedKit(t, nil)
		layer := pattern(1, 6<<20)
		img := k.registry.push(testRepo, "v1", layer)
		k.blobs.hold(layer)
		d := digestOf(layer)
		slow := make(chan answered, 1)
		k.manifest("GET", "v1").want(t, 200)
		go func() { slow <- k.readSlowly(d) }()
		served := 0
		for range 20 {
			for range 100 {
				if k.stall(d) == 200 {
					served++
				}
			}
			<-time.After(patience)
			k.manifest("GET", "v1").want(t, 200).wantBytes(t, img.manifest)
			k.blob("GET", d).want(t, 200).wantBytes(t, layer)
		}
		if served < 2000 {
			t.Errorf("%d readers that stop were served: the test shows nothing", served)
		}
		if a := <-slow; a.err != nil || !bytes.Equal(a.body, layer) {
			t.Errorf("who read slowly has %d bytes: %v", len(a.body), a.err)
		}
	})
}

// readSlowly reads a blob at 160 KiB a second: it takes longer over a piece than is patience.
func (k *kit) readSlowly(d blob.Digest) answered {
	r := httptest.NewRequest("GET", k.server.URL+"/v2/"+testRepo+"/blobs/"+d.String()+"?ns=reg.example%3A5000", nil)
	r.RequestURI = ""
	res, err := k.client.Do(r)
	if err != nil {
		return answered{err: err}
	}
	defer func() { _ = res.Body.Close() }()
	a := answered{code: res.StatusCode}
	for {
		part := make([]byte, 64<<10)
		n, err := io.ReadFull(res.Body, part)
		a.body = append(a.body, part[:n]...)
		if err != nil {
			if int64(len(a.body)) != res.ContentLength {
				a.err = err
			}
			return a
		}
		<-time.After(time.Second * 2 / 5)
	}
}

// When nobody is stuck for long, the next is refused and nobody is cut.
func TestPlacesOfReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces(2)
		quick, stuck, third := &seat{}, &seat{}, &seat{}
		if !p.take(quick) || !p.take(stuck) || p.take(third) {
			t.Error("three are served in two places")
		}
		stuck.begin(time.Now())
		<-time.After(patience - 1)
		if p.take(third) {
			t.Error("a client that does not read for a moment has lost its place")
		}
		<-time.After(1)
		if !p.take(third) || p.take(&seat{}) {
			t.Error("a client that does not read keeps its place, or another loses it too")
		}
		p.leave(stuck)
		if p.take(&seat{}) {
			t.Error("a place was given back twice")
		}
		p.leave(quick)
		if !p.take(&seat{}) {
			t.Error("a place was not given back")
		}
	})
}

// A plainWriter has neither ReadFrom nor Flush.
type plainWriter struct{ http.ResponseWriter }

// Whatever an outlet is put around, files reach the client and flushing is no error.
func TestOutletPassesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	w := httptest.NewRecorder()
	out := &outlet{ResponseWriter: plainWriter{w}, seat: &seat{}}
	if n, err := io.Copy(out, file); n != 7 || err != nil || w.Body.String() != "content" {
		t.Errorf("%d bytes %q, %v", n, w.Body, err)
	}
	if err := http.NewResponseController(out).Flush(); err != nil {
		t.Error(err)
	}
	if _, stuck := out.seat.stuck(time.Now().Add(time.Hour)); stuck {
		t.Error("an ended write is called stuck")
	}
}

// Of the connections whose clients do not read, the one that has not for longest makes room, and none whose client reads.
func TestLobbyPushesOutTheLongestStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLobby(3)
		comes := func() (c net.Conn, s *seat) {
			near, far := net.Pipe()
			t.Cleanup(func() { _, _ = near.Close(), far.Close() })
			s = seatOf(l.comes(t.Context(), far))
			l.moved(far, http.StateNew)
			l.moved(far, http.StateActive)
			return near, s
		}
		closed := func(c net.Conn) bool {
			_ = c.SetReadDeadline(time.Now().Add(time.Second))
			_, err := c.Read(make([]byte, 1))
			return errors.Is(err, io.EOF)
		}
		second, s := comes()
		<-time.After(time.Second)
		first, f := comes()
		f.begin(time.Now())
		<-time.After(time.Second)
		s.begin(time.Now())
		reads, r := comes()
		<-time.After(patience)
		r.begin(time.Now())
		fourth, _ := comes()
		if !closed(first) || closed(second) || closed(reads) || closed(fourth) {
			t.Error("another than the longest was pushed out first")
		}
		comes()
		if !closed(second) {
			t.Error("the next longest was not pushed out next")
		}
		s.begin(time.Time{})
		f.begin(time.Time{})
		r.begin(time.Time{})
		if last, _ := comes(); !closed(last) || closed(reads) || closed(fourth) {
			t.Error("one that reads was pushed out")
		}
	})
}
