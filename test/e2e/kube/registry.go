package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

const (
	// privatePrefix begins the repositories that want user and password.
	privatePrefix = "/v2/private/"
	privateUser   = "puller"
	privateWord   = "open-sesame" // the password
	storeAddress  = "127.0.0.1:5001"
)

// A registry is the distribution project's, behind a proxy that counts what leaves it, asks
// for a password, holds bodies back, and goes away. It is safe for concurrent use.
type registry struct {
	proxy *httputil.ReverseProxy

	mu     sync.Mutex
	server *http.Server // nil while it is down
	sent   map[string]int64
	// hold is how many bytes of each blob pass; 0 is all.
	hold     int64
	released chan struct{}
}

func (l *lab) startRegistry() (*registry, error) {
	config := filepath.Join(l.sandbox, "registry.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s}}\n"+
		"http: {addr: %q, relativeurls: true, secret: lab}\n", filepath.Join(l.sandbox, "registry"), storeAddress)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	if err := l.start("registry", "docker-registry", "serve", config); err != nil {
		return nil, err
	}
	r := &registry{
		proxy: httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: storeAddress}),
		sent:  map[string]int64{}, released: make(chan struct{}),
	}
	r.proxy.FlushInterval = -1
	r.proxy.ErrorHandler = func(http.ResponseWriter, *http.Request, error) {} // clients go away when they like
	err := l.eventually("the registry", func() error {
		answer, err := l.get("http://" + storeAddress + "/v2/")
		if err == nil {
			err = answer.Body.Close()
		}
		return err
	})
	return r, errors.Join(err, r.setDown(false))
}

// setDown refuses connections from now on, and ends those there are, or takes them again.
func (r *registry) setDown(down bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if down {
		if r.server == nil {
			return nil
		}
		err := r.server.Close()
		r.server = nil
		return err
	}
	listener, err := net.Listen("tcp", registryAddress) //nolint:noctx // at once, on an address of the lab
	if err != nil {
		return err
	}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: time.Minute}
	go func(s *http.Server) { _ = s.Serve(listener) }(r.server)
	return nil
}

// setHold lets only so many bytes of each blob pass until it is set to 0.
func (r *registry) setHold(bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hold = bytes
	if bytes == 0 {
		close(r.released)
		r.released = make(chan struct{})
	}
}

// blobs is how many bytes of a blob, or of all for "", have left it.
func (r *registry) blobs(digest string) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if digest != "" {
		return r.sent[digest]
	}
	var sum int64
	for _, n := range r.sent {
		sum += n
	}
	return sum
}

// ServeHTTP implements http.Handler.
func (r *registry) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	if strings.HasPrefix(request.URL.Path, privatePrefix) {
		if user, word, ok := request.BasicAuth(); !ok || user != privateUser || word != privateWord {
			w.Header().Set("WWW-Authenticate", `Basic realm="lab"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
			return
		}
	}
	request.Header.Del("Authorization")
	if _, digest, ok := strings.Cut(request.URL.Path, "/blobs/"); ok && request.Method == http.MethodGet {
		w = &countingWriter{ResponseWriter: w, registry: r, digest: digest, gone: request.Context().Done()}
	}
	r.proxy.ServeHTTP(w, request)
}

// A countingWriter counts a blob's body, and holds it back.
type countingWriter struct {
	http.ResponseWriter
	registry *registry
	digest   string
	passed   int64
	gone     <-chan struct{}
}

// Unwrap lets the proxy flush.
func (w *countingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Write implements http.ResponseWriter.
func (w *countingWriter) Write(p []byte) (int, error) {
	r := w.registry
	for {
		r.mu.Lock()
		hold, released := r.hold, r.released
		r.mu.Unlock()
		if hold == 0 || w.passed < hold {
			break
		}
		select {
		case <-released:
		case <-w.gone:
			return 0, errors.New("the client has gone")
		}
	}
	n, err := w.ResponseWriter.Write(p)
	w.passed += int64(n)
	r.mu.Lock()
	r.sent[w.digest] += int64(n)
	r.mu.Unlock()
	return n, err
}
