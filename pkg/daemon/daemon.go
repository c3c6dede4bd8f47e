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

	"github.com/libp2p/go-libp2p/core/host"

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

// A node is a daemon's parts. Whatever is nil was not started.
type node struct {
	cfg    config.Config
	log    *slog.Logger
	build  Build
	timing timing
	start  time.Time
	around func(host.Host) host.Host // p2p.Config.Around

	store    *store.Store
	runtime  *runtime
	upstream *upstream.Client
	tokens   *http.Transport
	swarm    *swarm
	engine   *engine.Engine
	proxy    *proxy.Proxy
	metrics  *metrics.Metrics
	warnings warnings
	disk     diskState
}

// An Option changes what no setting does: it is for programs that are built around a node.
type Option func(*node)

// Around puts something between the node's protocols and the libp2p host that they run on, as
// p2p.Config.Around says.
func Around(around func(host.Host) host.Host) Option {
	return func(n *node) { n.around = around }
}

// Run runs a node until ctx ends, and then stops it: no new downloads, bodies in flight
// finish or are cut within ten seconds, the store is closed last. Errors are sentences
// for whoever started it. After an error that wraps ErrStuck parts of it may still be
// running: the process should end.
func Run(ctx context.Context, cfg config.Config, log *slog.Logger, build Build, options ...Option) error {
	n := &node{cfg: cfg, log: log, build: build, start: time.Now(), timing: defaultTiming()}
	for _, option := range options {
		option(n)
	}
	return n.run(ctx)
}

func (n *node) run(ctx context.Context) (err error) {
	listeners, err := n.listen(ctx)
	if err != nil {
		return err
	}
	defer listeners.close()
	defer func() {
		if !errors.Is(err, ErrStuck) { // or this would hang as well
			err = errors.Join(err, n.within(n.timing.close, "close", n.close))
		}
	}()
	if err := n.open(); err != nil { //nolint:contextcheck // the parts live until close, not until ctx ends
		return err
	}
	adminServer, err := admin.Listen(ctx, admin.Config{Socket: n.cfg.AdminSocket, Source: n, Prefetcher: n, Log: n.log})
	if err != nil {
		return err
	}
	n.log.InfoContext(ctx, "shoal is ready", "version", n.build.Version, "clients", listeners.clients.Addr().String(),
		"peer", n.peerID(), "upstreams", len(n.cfg.Upstreams), "data", n.cfg.DataDir)
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

// open makes every part, from the store up. After an error close closes what was made.
func (n *node) open() (err error) {
	if err := os.MkdirAll(n.cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("cannot use the data folder: %w (choose another --data-dir, or run as root)", err)
	}
	if n.store, err = store.Open(store.Config{Dir: n.cfg.DataDir, MaxBytes: n.cfg.StoreMaxSize, Log: n.log}); err != nil {
		return err
	}
	upstreams := upstream.Config{
		Upstreams: n.cfg.Upstreams, UserAgent: "shoal/" + n.build.Version,
		CertsDir: n.cfg.CertsDir, ClientCerts: n.cfg.CertsClient,
		OnCertificates: func(registry string, err error) {
			n.log.Warn("certificates are not followed", "registry", registry, "err", err)
			n.warnings.add("certificates", err.Error())
		},
	}
	if n.upstream, err = upstream.New(upstreams); err != nil {
		return err
	}
	n.warn(upstreams)
	if n.swarm, err = openSwarm(n); err != nil {
		return err
	}
	if n.runtime, err = openRuntime(n); err != nil {
		return err
	}
	n.engine = engine.New(engine.Config{
		Store: n.store, Elsewhere: n.runtime.get, Upstream: n.upstream, Log: n.log, BackgroundMax: n.cfg.BackgroundMaxSize,
		Scheduler:    scheduler.Config{Self: scheduler.PeerID(n.swarm.id()), Zone: n.cfg.Zone, Seed: seed()},
		OnQuarantine: func(what string) { n.metrics.Quarantined(classOf(what)) },
		OnAudit:      func() { n.metrics.Audited() },
		OnDisk:       n.disk.tell,
	})
	if n.proxy, err = n.newProxy(); err != nil {
		return err
	}
	if n.metrics, err = n.newMetrics(); err != nil { // before peers can be quarantined
		return err
	}
	return n.swarm.join(n)
}

// warn takes note of what works and deserves attention. The command has logged what the
// settings say already.
func (n *node) warn(upstreams upstream.Config) {
	for _, w := range upstreams.Warnings() {
		n.log.Warn("upstream", "warning", w)
		n.warnings.add("upstream_insecure", w)
	}
	settings := n.cfg
	if len(settings.P2PSecretFiles) == 0 {
		n.warnings.add("no_secret", "no --p2p-secret-file: this node runs alone and shares nothing with others")
		settings.P2PSecretFiles = []string{"said already"}
	}
	for _, w := range settings.Warnings() {
		n.warnings.add("setting", w)
	}
}

func (n *node) newProxy() (*proxy.Proxy, error) {
	tokens, ok := http.DefaultTransport.(*http.Transport)
	if !ok {
		return nil, errors.New("net/http has another default transport")
	}
	tags := proxy.TagFile(filepath.Join(n.cfg.DataDir, "tags.json"))
	n.tokens = tokens.Clone()
	deps := proxy.Deps{
		Upstream: n.upstream, Blobs: blobs{n.engine}, Store: manifests{n.store, n.runtime, n.disk.tell}, Tags: tags, Log: n.log,
		Tokens: n.tokens,
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
		Listen: n.cfg.Listen, Hosts: n.cfg.ListenNames, StaleTags: proxy.StaleTags(n.cfg.StaleTags),
		GrantTTL: n.cfg.AuthGrant, AuthStale: never(n.cfg.AuthStale), StalePublic: never(n.cfg.AuthStale),
	}
}

func (n *node) newMetrics() (*metrics.Metrics, error) {
	return metrics.New(metrics.Config{
		Version: n.build.Version, Commit: n.build.Commit, Pprof: n.cfg.Pprof,
		Status: n.Status, Outcomes: n.outcomes,
		Live:  n.engine.Ping,
		Ready: n.engine.Ping,
	})
}

// close closes the parts in reverse order: sessions before the files they read, the
// store last.
func (n *node) close() error {
	var errs []error
	if n.engine != nil {
		n.engine.Stop() // nobody waits for its loop any more
	}
	if n.swarm != nil {
		errs = append(errs, n.swarm.close())
	}
	if n.engine != nil {
		n.engine.Close()
	}
	if n.tokens != nil {
		n.tokens.CloseIdleConnections()
	}
	if n.upstream != nil {
		n.upstream.Close()
	}
	if n.runtime != nil {
		errs = append(errs, n.runtime.close())
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	return errors.Join(errs...)
}
