package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

// The paths of the documents.
const (
	statusPath = "/v1/status"
	peersPath  = "/v1/peers"
	layersPath = "/v1/layers"
)

const (
	// ListMax is the most entries a list has.
	ListMax = 10_000
	// requestsMax is how many requests are answered at once; more are refused with 503.
	requestsMax = 8
	// headerMax bounds a request's headers, in bytes: nothing in them is read.
	headerMax = 8 << 10
	// sourceWait is how long the Source may take.
	sourceWait = 5 * time.Second
	// shutdownWait is how long requests in progress may go on once the server stops.
	shutdownWait = 2 * time.Second
)

// A Source tells what the daemon is doing. Its methods are called from many goroutines
// and return within the context's deadline. The server owns what they return.
type Source interface {
	Status(ctx context.Context) (Status, error)
	// Peers returns the connected members in any order.
	Peers(ctx context.Context) ([]Peer, error)
	// Layers returns the blobs, proven and partial, in any order.
	Layers(ctx context.Context) ([]Layer, error)
}

// Config sets a Server up.
type Config struct {
	// Socket is the path of the unix socket. Required.
	Socket string
	// Source answers. Required.
	Source Source
	// Prefetcher carries out orders for images; nil refuses them.
	Prefetcher Prefetcher
	// Log receives failures. Required.
	Log *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Validate reports what is missing.
func (c Config) Validate() error {
	switch {
	case c.Socket == "":
		return errors.New("admin: no socket")
	case c.Source == nil:
		return errors.New("admin: no source")
	case c.Log == nil:
		return errors.New("admin: no log")
	}
	return nil
}

// A Server answers on a unix socket. Made by Listen, ended by Serve.
type Server struct {
	config   Config
	listener net.Listener
	bound    os.FileInfo
	slots    chan struct{}
	// prefetches has room for those under way.
	prefetches chan struct{}
}

// Listen creates the socket, accessible to this user only. The folder is created when
// it is missing, and a socket that nobody listens on is replaced. The error is
// ErrRunning when somebody does. Serve must be called to release the socket again.
func Listen(ctx context.Context, c Config) (*Server, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	listener, bound, err := bind(ctx, c.Socket)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	return &Server{
		config: c, listener: listener, bound: bound,
		slots: make(chan struct{}, requestsMax), prefetches: make(chan struct{}, prefetchMax),
	}, nil
}

// Serve answers until ctx ends, then lets requests in progress finish for a moment,
// removes the socket and returns nil. Any other error means the socket broke.
func (s *Server) Serve(ctx context.Context) error {
	// Requests outlive ctx by the moment that they are given to finish.
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	server := &http.Server{
		Handler:           s.handler(),
		BaseContext:       func(net.Listener) context.Context { return base },
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      sourceWait + 15*time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    headerMax,
		ErrorLog:          slog.NewLogLogger(s.config.Log.Handler(), slog.LevelDebug),
	}
	broke := make(chan error, 1)
	go func() { broke <- server.Serve(s.listener) }()

	var err error
	select {
	case <-ctx.Done():
		stop, done := context.WithTimeout(base, shutdownWait)
		defer done()
		if server.Shutdown(stop) != nil {
			cancel()
			_ = server.Close() // what is still running was told to end; nothing is lost
		}
		if ended := <-broke; !errors.Is(ended, http.ErrServerClosed) {
			err = ended
		}
	case err = <-broke:
		_ = server.Close() // it broke already, and that error is returned
	}
	unbind(s.config.Socket, s.bound)
	if err != nil {
		return fmt.Errorf("admin socket: %w", err)
	}
	return nil
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+statusPath, answer(s, s.status))
	mux.HandleFunc("GET "+peersPath, answer(s, s.peers))
	mux.HandleFunc("GET "+layersPath, answer(s, s.layers))
	if s.config.Prefetcher != nil {
		mux.HandleFunc("POST "+prefetchPath, s.prefetch)
	}
	return mux
}

// answer turns a function that makes a document into a handler with the server's bounds.
func answer[T any](s *Server, document func(context.Context) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case s.slots <- struct{}{}:
			defer func() { <-s.slots }()
		default:
			fail(w, http.StatusServiceUnavailable, "too many requests at once")
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), sourceWait)
		defer cancel()
		d, err := document(ctx)
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			fail(w, http.StatusGatewayTimeout, "the daemon did not answer in time")
			return
		case err != nil:
			s.config.Log.WarnContext(ctx, "admin request failed", slog.String("path", r.URL.Path), slog.Any("error", err))
			fail(w, http.StatusInternalServerError, err.Error())
			return
		}
		reply(w, http.StatusOK, d)
	}
}

func (s *Server) status(ctx context.Context) (Status, error) {
	d, err := s.config.Source.Status(ctx)
	if err != nil {
		return Status{}, err
	}
	d.SchemaVersion, d.Time = SchemaVersion, s.config.Now().UTC()
	d.Traffic.RegistrySpared = max(0, d.Traffic.ToClients-d.Traffic.FromRegistry)
	slices.SortFunc(d.Downloads, func(a, b Download) int {
		if c := a.StartedAt.Compare(b.StartedAt); c != 0 {
			return c
		}
		return compareDigests(a.Blob, b.Blob)
	})
	d.Downloads = orEmpty(d.Downloads[:min(len(d.Downloads), ListMax)])
	d.Quarantined = orEmpty(d.Quarantined[:min(len(d.Quarantined), ListMax)])
	d.Warnings = orEmpty(d.Warnings[:min(len(d.Warnings), ListMax)])
	return d, nil
}

func (s *Server) peers(ctx context.Context) (PeerList, error) {
	peers, err := s.config.Source.Peers(ctx)
	if err != nil {
		return PeerList{}, err
	}
	slices.SortFunc(peers, func(a, b Peer) int {
		if c := b.MemberSince.Compare(a.MemberSince); c != 0 {
			return c
		}
		return strings.Compare(a.PeerID, b.PeerID)
	})
	return PeerList{
		SchemaVersion: SchemaVersion, Time: s.config.Now().UTC(),
		Total: len(peers), Peers: orEmpty(peers[:min(len(peers), ListMax)]),
	}, nil
}

func (s *Server) layers(ctx context.Context) (LayerList, error) {
	layers, err := s.config.Source.Layers(ctx)
	if err != nil {
		return LayerList{}, err
	}
	slices.SortFunc(layers, func(a, b Layer) int {
		if c := lastUsed(b).Compare(lastUsed(a)); c != 0 {
			return c
		}
		return compareDigests(a.Blob, b.Blob)
	})
	return LayerList{
		SchemaVersion: SchemaVersion, Time: s.config.Now().UTC(),
		Total: len(layers), Layers: orEmpty(layers[:min(len(layers), ListMax)]),
	}, nil
}

func lastUsed(l Layer) time.Time {
	if l.LastUsed == nil {
		return time.Time{}
	}
	return *l.LastUsed
}

func compareDigests(a, b blob.Digest) int { return slices.Compare(a[:], b[:]) }

// orEmpty makes a list without entries [] rather than null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// A problem is the document of an error.
type problem struct {
	Error string `json:"error"`
}

func fail(w http.ResponseWriter, code int, why string) { reply(w, code, problem{Error: why}) }

func reply(w http.ResponseWriter, code int, document any) {
	body, err := json.Marshal(document)
	if err != nil {
		code, body = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write(append(body, '\n')) // a client that is gone is not our failure
}
