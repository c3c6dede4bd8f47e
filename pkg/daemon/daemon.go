package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shoal-project/shoal/pkg/admin"
	"github.com/shoal-project/shoal/pkg/config"
	"github.com/shoal-project/shoal/pkg/engine"
	"github.com/shoal-project/shoal/pkg/metrics"
	"github.com/shoal-project/shoal/pkg/store"
	"github.com/shoal-project/shoal/pkg/upstream"
	"github.com/shoal-project/shoal/proxy"
	"github.com/shoal-project/shoal/scheduler"
)

// A Build says which Shoal this is.
type Build struct {
	Version string
	Commit  string
}

const (
	// bodiesWait is how long bodies in flight may take once the daemon was told to stop.
	bodiesWait = 10 * time.Second
	// cutWait is how long cut bodies may take to notice.
	cutWait = 2 * time.Second
)

// A node is a daemon's parts. Whatever is nil was not started.
type node struct {
	cfg   config.Config
	log   *slog.Logger
	build Build
	start time.Time

	store    *store.Store
	upstream *upstream.Client
	swarm    *swarm
	engine   *engine.Engine
	proxy    *proxy.Proxy
	metrics  *metrics.Metrics
	warnings *warnings
}

// Run runs a node until ctx ends, and then stops it: no new downloads, bodies in flight
// finish or are cut within ten seconds, the store is closed last. Errors are sentences
// for whoever started it.
func Run(ctx context.Context, cfg config.Config, log *slog.Logger, build Build) (err error) {
	n := &node{cfg: cfg, log: log, build: build, start: time.Now(), warnings: newWarnings()}
	listeners, err := n.listen(ctx)
	if err != nil {
		return err
	}
	defer listeners.close()
	if err := n.open(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.close()) }()
	adminServer, err := admin.Listen(ctx, admin.Config{Socket: cfg.AdminSocket, Source: n, Log: log})
	if err != nil {
		return err
	}
	log.Info("shoal is ready", "version", build.Version, "clients", listeners.clients.Addr().String(),
		"peer", n.peerID(), "upstreams", len(cfg.Upstreams), "data", cfg.DataDir)
	return n.serve(ctx, listeners, adminServer)
}

// listeners are the TCP ports, taken before anything else: a port in use is the most
// common reason not to start.
type listeners struct {
	clients net.Listener
	metrics net.Listener // nil: nowhere
}

func (l listeners) close() {
	for _, c := range []net.Listener{l.clients, l.metrics} {
		if c != nil {
			_ = c.Close() // closed by its server already, as a rule
		}
	}
}

func (n *node) listen(ctx context.Context) (l listeners, err error) {
	var cfg net.ListenConfig
	if l.clients, err = cfg.Listen(ctx, "tcp", n.cfg.Listen); err != nil {
		return l, fmt.Errorf("cannot serve clients on %s: %w (choose another --listen)", n.cfg.Listen, err)
	}
	if n.cfg.MetricsListen == "" {
		return l, nil
	}
	if l.metrics, err = cfg.Listen(ctx, "tcp", n.cfg.MetricsListen); err != nil {
		l.close()
		return l, fmt.Errorf("cannot serve metrics on %s: %w (choose another --metrics-listen)", n.cfg.MetricsListen, err)
	}
	return l, nil
}

// open makes every part, from the store up.
func (n *node) open() (err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, n.close())
		}
	}()
	if err := os.MkdirAll(n.cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("cannot use the data folder: %w (choose another --data-dir, or run as root)", err)
	}
	if n.store, err = store.Open(store.Config{Dir: n.cfg.DataDir, MaxBytes: n.cfg.StoreMaxSize, Log: n.log}); err != nil {
		return err
	}
	upstreams := upstream.Config{Upstreams: n.cfg.Upstreams, UserAgent: "shoal/" + n.build.Version}
	if n.upstream, err = upstream.New(upstreams); err != nil {
		return err
	}
	for _, w := range upstreams.Warnings() {
		n.log.Warn("upstream", "warning", w)
		n.warnings.add("upstream_insecure", w)
	}
	if n.swarm, err = openSwarm(n); err != nil {
		return err
	}
	n.engine = engine.New(engine.Config{
		Store: n.store, Upstream: n.upstream, Log: n.log, BackgroundMax: n.cfg.BackgroundMaxSize,
		Scheduler: scheduler.Config{Self: scheduler.PeerID(n.swarm.id()), Zone: n.cfg.Zone, Seed: seed()},
		OnQuarantine: func(string) {
			n.metrics.Quarantined("misbehaved")
		},
	})
	if n.proxy, err = n.newProxy(); err != nil {
		return err
	}
	if err := n.swarm.join(n); err != nil {
		return err
	}
	return n.newMetrics()
}

func (n *node) newProxy() (*proxy.Proxy, error) {
	tokens, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, errors.New("net/http has another default transport")
	}
	tags := proxy.TagFile(filepath.Join(n.cfg.DataDir, "tags.json"))
	deps := proxy.Deps{
		Upstream: n.upstream, Blobs: blobs{n.engine}, Store: manifests{n.store}, Tags: tags, Log: n.log,
		Tokens: tokens.Clone(),
	}
	if !n.swarm.alone() {
		deps.Members = n.swarm
		deps.Tags = announcedTags{Tags: tags, discovery: n.swarm.discovery}
	}
	return proxy.New(n.proxyConfig(), deps)
}

func (n *node) proxyConfig() proxy.Config {
	never := func(d time.Duration) time.Duration {
		if d == 0 {
			return -1 // the proxy takes zero for its default
		}
		return d
	}
	return proxy.Config{
		Listen: n.cfg.Listen, StaleTags: proxy.StaleTags(n.cfg.StaleTags),
		GrantTTL: n.cfg.AuthGrant, AuthStale: never(n.cfg.AuthStale), StalePublic: never(n.cfg.AuthStale),
	}
}

func (n *node) newMetrics() (err error) {
	n.metrics, err = metrics.New(metrics.Config{
		Version: n.build.Version, Commit: n.build.Commit, Pprof: n.cfg.Pprof,
		Status: n.Status, Outcomes: n.outcomes,
		Live:  n.engine.Ping,
		Ready: n.engine.Ping,
	})
	return err
}

// serve runs every part until ctx ends or one of them fails.
func (n *node) serve(ctx context.Context, l listeners, adminServer *admin.Server) error {
	// The parts below the clients outlive them: a body in flight needs the engine.
	below, stopBelow := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBelow()
	lower, below := errgroup.WithContext(below)
	lower.Go(func() error { return n.engine.Run(below) })
	lower.Go(func() error { return n.swarm.run(below, n.engine) })
	lower.Go(func() error { return n.proxy.Run(below) })
	lower.Go(func() error { return n.watch(below) })

	upper, ctx := errgroup.WithContext(ctx)
	upper.Go(func() error {
		select { // a part below that fails ends the whole
		case <-below.Done():
			return errPartEnded
		case <-ctx.Done():
			return nil
		}
	})
	upper.Go(func() error { return n.serveClients(ctx, l.clients) })
	upper.Go(func() error { return adminServer.Serve(ctx) })
	if l.metrics != nil {
		upper.Go(func() error {
			return serveHTTP(ctx, newMetricsServer(n.metrics.Handler(), n.log), l.metrics, time.Second)
		})
	}
	upperErr := upper.Wait()
	stopBelow()
	lowerErr := lower.Wait()
	if errors.Is(upperErr, errPartEnded) && lowerErr != nil {
		return lowerErr
	}
	return errors.Join(upperErr, lowerErr)
}

var errPartEnded = errors.New("a part of the daemon ended by itself")

// serveClients serves the proxy. When ctx ends it takes no new downloads, lets bodies
// finish for a while, and then cuts them so that the client sees FIN and resumes elsewhere.
func (n *node) serveClients(ctx context.Context, l net.Listener) error {
	bodies, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	server := proxy.NewServer(n.proxyConfig(), n.metrics.Instrument(n.proxy), n.log)
	server.BaseContext = func(net.Listener) context.Context { return bodies }
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve clients: %w", err)
	case <-ctx.Done():
	}
	n.log.Info("stopping", "wait", bodiesWait)
	n.engine.Refuse()
	grace, done := context.WithTimeout(context.WithoutCancel(ctx), bodiesWait)
	defer done()
	if err := server.Shutdown(grace); err != nil {
		cut() // handlers end with http.ErrAbortHandler, which closes by FIN
		last, done := context.WithTimeout(context.WithoutCancel(ctx), cutWait)
		defer done()
		if err := server.Shutdown(last); err != nil {
			_ = server.Close()
		}
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve clients: %w", err)
	}
	return nil
}

// serveHTTP runs a small server until ctx ends.
func serveHTTP(ctx context.Context, server *http.Server, l net.Listener, wait time.Duration) error {
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	grace, done := context.WithTimeout(context.WithoutCancel(ctx), wait)
	defer done()
	if err := server.Shutdown(grace); err != nil {
		_ = server.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}

func newMetricsServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// close closes the parts in reverse order.
func (n *node) close() error {
	var errs []error
	if n.engine != nil {
		n.engine.Close()
	}
	if n.swarm != nil {
		errs = append(errs, n.swarm.close())
	}
	if n.upstream != nil {
		n.upstream.Close()
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	return errors.Join(errs...)
}
