package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
)

// A Kind says what part of a registry a request was for.
type Kind string

// The kinds of requests.
const (
	KindManifest Kind = "manifest"
	KindBlob     Kind = "blob"
	KindOther    Kind = "other"
)

// A Request is one request that reached the registry, and how much of its answer has
// gone out by now.
type Request struct {
	Client string // IP address it came from
	Agent  string // the User-Agent it named
	Method string
	Path   string
	Range  string
	Kind   Kind
	Name   string // tag or digest
	Status int
	Bytes  int64 // of the body, handed to the kernel
}

// Faults are what the front does to answers. The zero value is none.
type Faults struct {
	Latency time.Duration // before every answer
	Cut     int64         // close the connection after so many bytes of a blob's body; 0 is never
	Hold    int64         // let so many bytes of blobs through in all, then stall; 0 is all of them
}

// A Front is the address of the registry: a reverse proxy that counts what every
// client asked and got, and misbehaves on demand. It is safe for concurrent use.
type Front struct {
	lab     *Lab
	address string // host:port
	handler http.Handler

	mu       sync.Mutex
	server   *http.Server  // nil while stopped
	serving  chan struct{} // closed when server's goroutine has ended
	requests []*Request
	faults   Faults
	passed   int64         // bytes of blobs since the faults were set
	changed  chan struct{} // closed and replaced when faults change
}

// newFront will serve address, in the registry's namespace, in front of the registry that
// listens on a unix socket.
func newFront(lab *Lab, address, socket string) *Front {
	f := &Front{lab: lab, address: address, changed: make(chan struct{})}
	backend := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
		DisableCompression: true,
	}
	lab.t.Cleanup(backend.CloseIdleConnections)
	target := &url.URL{Scheme: "http", Host: address}
	f.handler = &httputil.ReverseProxy{
		Transport: backend,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	}
	return f
}

// Open begins to listen. It fails the test when the address is taken.
func (f *Front) Open() {
	t := f.lab.t
	t.Helper()
	listener, err := listenIn(t.Context(), f.lab.net.netns(RegistryNode), f.address)
	if err != nil {
		t.Fatalf("opening the registry: %v", err)
	}
	server := &http.Server{
		Handler:           http.HandlerFunc(f.serve),
		ReadHeaderTimeout: patience,
		ConnState: func(c net.Conn, s http.ConnState) {
			// A small buffer, so that bytes counted as sent are close to bytes received.
			if tcp, ok := c.(*net.TCPConn); ok && s == http.StateNew {
				_ = tcp.SetWriteBuffer(64 << 10)
			}
		},
	}
	serving := make(chan struct{})
	go func() {
		defer close(serving)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the registry's front: %v", err)
		}
	}()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.server, f.serving = server, serving
}

// Close stops listening and cuts every connection, as a registry that went down.
func (f *Front) Close() {
	f.mu.Lock()
	server, serving := f.server, f.serving
	f.server = nil
	f.mu.Unlock()
	if server == nil {
		return
	}
	_ = server.Close()
	<-serving
}

// SetFaults replaces what the front does wrong, for answers under way as well.
func (f *Front) SetFaults(faults Faults) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults, f.passed = faults, 0
	close(f.changed)
	f.changed = make(chan struct{})
}

// Requests returns a copy of all requests so far, in order of arrival, of those
// that every given filter accepts.
func (f *Front) Requests(filters ...func(Request) bool) []Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Request
next:
	for _, r := range f.requests {
		for _, accepts := range filters {
			if !accepts(*r) {
				continue next
			}
		}
		out = append(out, *r)
	}
	return out
}

// Bytes sums the bodies sent for the requests that every filter accepts.
func (f *Front) Bytes(filters ...func(Request) bool) int64 {
	var sum int64
	for _, r := range f.Requests(filters...) {
		sum += r.Bytes
	}
	return sum
}

// Forget drops the requests so far. What is still sent for one of them counts no more.
func (f *Front) Forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = nil
}

// Journal lists the requests of everybody but the test itself, one a line.
func (f *Front) Journal() string {
	self := f.lab.net.address(lanHost)
	var out strings.Builder
	for _, r := range f.Requests() {
		if r.Client != self {
			fmt.Fprintf(&out, "%s %q %s %s %s: %d, %d bytes\n", r.Client, r.Agent, r.Method, r.Path, r.Range, r.Status, r.Bytes)
		}
	}
	return out.String()
}

// Blobs accepts requests for blobs' bytes.
func Blobs(r Request) bool { return r.Kind == KindBlob && r.Method == http.MethodGet }

// From accepts the requests of one client.
func From(address string) func(Request) bool {
	return func(r Request) bool { return r.Client == address }
}

// Named accepts requests for one tag or digest.
func Named(name string) func(Request) bool {
	return func(r Request) bool { return r.Name == name }
}

func (f *Front) serve(w http.ResponseWriter, r *http.Request) {
	record := describe(r)
	f.mu.Lock()
	f.requests = append(f.requests, record)
	latency := f.faults.Latency
	f.mu.Unlock()
	if latency > 0 {
		timer := time.NewTimer(latency)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			return
		}
	}
	f.handler.ServeHTTP(&countingWriter{ResponseWriter: w, ctx: r.Context(), front: f, record: record}, r)
}

// describe fills in what is known of a request before it is answered.
func describe(r *http.Request) *Request {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	record := &Request{
		Client: host, Agent: r.UserAgent(), Method: r.Method, Path: r.URL.Path,
		Range: r.Header.Get("Range"), Kind: KindOther,
	}
	if m := contentPath.FindStringSubmatch(r.URL.Path); m != nil {
		record.Kind, record.Name = Kind(strings.TrimSuffix(m[1], "s")), m[2]
	}
	return record
}

// contentPath is a manifest or blob in the OCI distribution specification; the paths of
// uploads have one more part.
var contentPath = regexp.MustCompile(`^/v2/.+/(manifests|blobs)/([^/]+)$`)
