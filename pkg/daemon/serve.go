package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/pprof"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shoal-project/shoal/pkg/admin"
	"github.com/shoal-project/shoal/pkg/content"
	"github.com/shoal-project/shoal/proxy"
)

// timing is how long things may take. Tests have less patience.
type timing struct {
	bodies time.Duration // bodies in flight, once the daemon was told to stop
	cut    time.Duration // bodies that were cut, until they notice
	parts  time.Duration // the parts below the clients, until they end
	close  time.Duration // closing them
	watch  time.Duration // between two looks at the engine
	hung   time.Duration // the engine's answer, before it counts as hung
	trim   time.Duration // between two looks at the store's size
	sweep  time.Duration // between two looks at what is announced
	look   time.Duration // between two looks at containerd's configuration
	dedupe time.Duration // between two looks at what is kept twice
	kept   time.Duration // how long containerd has kept a blob that it counts as keeping
	unsure time.Duration // the same where its configuration cannot be seen

	content content.Timing
}

func defaultTiming() timing {
	return timing{
		bodies: 10 * time.Second, cut: 2 * time.Second, parts: 10 * time.Second, close: 10 * time.Second,
		watch: 10 * time.Second, hung: 30 * time.Second, trim: 10 * time.Second, sweep: 5 * time.Minute,
		look: 20 * time.Second, dedupe: 20 * time.Second, kept: time.Minute, unsure: 15 * time.Minute,
	}
}

// ErrStuck is wrapped when a part does not end: it cannot be waited for any longer.
var ErrStuck = errors.New("a part of the daemon does not end")

var errPartEnded = errors.New("a part of the daemon ended by itself")

// serve runs every part until ctx ends or one of them fails.
func (n *node) serve(ctx context.Context, l listeners, adminServer *admin.Server) error {
	// The parts below the clients outlive them: a body in flight needs the engine.
	base, stopBelow := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBelow()
	lower, below := errgroup.WithContext(base)
	lower.Go(func() error { return n.engine.Run(below) })
	lower.Go(func() error { return n.swarm.run(below, n) })
	lower.Go(func() error { return n.proxy.Run(below) })
	lower.Go(func() error { return n.watch(below) })
	lower.Go(func() error { return n.keepTrim(below) })
	lower.Go(func() error { return n.runRuntime(below) })

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
	var lowerErr error
	if below.Err() != nil {
		lowerErr = context.Cause(below) // of the first part that failed; the others may hang
	}
	stopBelow()
	err := n.within(n.timing.parts, "stop", lower.Wait)
	switch {
	case lowerErr == nil:
		lowerErr = err
	case errors.Is(err, ErrStuck):
		lowerErr = errors.Join(lowerErr, err)
	}
	if errors.Is(upperErr, errPartEnded) && lowerErr != nil {
		return lowerErr
	}
	return errors.Join(upperErr, lowerErr)
}

// within waits for end, but no longer than that. A daemon that hangs while it stops is
// worse than one that is killed: its port would stay taken.
func (n *node) within(wait time.Duration, doing string, end func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- end() }()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case err := <-ended:
		return err
	case <-timer.C:
		n.log.Error("daemon stuck", "doing", doing, "goroutines", stacks())
		return fmt.Errorf("%w: %s took more than %s", ErrStuck, doing, wait)
	}
}

func stacks() string {
	var s strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&s, 1) // a Builder does not fail
	return s.String()
}

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
	n.log.InfoContext(ctx, "stopping", "wait", n.timing.bodies)
	n.engine.Refuse()
	grace, done := context.WithTimeout(context.WithoutCancel(ctx), n.timing.bodies)
	defer done()
	if err := server.Shutdown(grace); err != nil {
		cut() // handlers end with http.ErrAbortHandler, which closes by FIN
		last, done := context.WithTimeout(context.WithoutCancel(ctx), n.timing.cut)
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
