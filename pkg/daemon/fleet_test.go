package daemon

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/shoal-project/shoal/p2p/admission"
	"github.com/shoal-project/shoal/pkg/admin"
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait of a test.
const patience = 60 * time.Second

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// A ready is a log handler that tells when the daemon says that it is ready, and where.
type ready struct {
	slog.Handler
	mu    sync.Mutex
	texts []string
	where chan string // of clients
	peers chan string // multiaddr
}

func (r *ready) Enabled(context.Context, slog.Level) bool { return true }
func (r *ready) WithAttrs([]slog.Attr) slog.Handler       { return r }
func (r *ready) WithGroup(string) slog.Handler            { return r }

func (r *ready) Handle(_ context.Context, record slog.Record) error {
	line := record.Message
	record.Attrs(func(a slog.Attr) bool {
		line += " " + a.String()
		switch {
		case record.Message == "shoal is ready" && a.Key == "clients":
			r.where <- a.Value.String()
		case record.Message == "listening for members" && a.Key == "addresses":
			r.peers <- strings.Trim(a.Value.String(), "[]")
		}
		return true
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.texts = append(r.texts, line)
	return nil
}

func newReady() *ready {
	return &ready{where: make(chan string, 1), peers: make(chan string, 1)}
}

// A daemon is one that runs in this process.
type daemon struct {
	cfg     config.Config
	log     *ready
	clients string // where clients reach it
	peers   string // where members reach it
	admin   *admin.Client
	cancel  context.CancelFunc
	ended   chan error
	once    sync.Once
	err     error
}

// settings are those of a daemon of its own, on ports of its own.
func settings(t *testing.T, registry *testRegistry) config.Config {
	t.Helper()
	dir, err := os.MkdirTemp("", "shoal") //nolint:usetesting // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	c := config.Default()
	c.Listen, c.MetricsListen = "127.0.0.1:0", "127.0.0.1:0"
	c.P2PListen = []string{"/ip4/127.0.0.1/tcp/0"}
	c.DataDir, c.AdminSocket = filepath.Join(dir, "data"), filepath.Join(dir, "admin.sock")
	c.Upstreams = map[string]string{"registry.test": registry.URL}
	return c
}

func secretFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, admission.GenerateSecret().Encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// start runs a daemon until the test ends.
func start(t *testing.T, c config.Config) *daemon {
	t.Helper()
	return startWith(t, c, defaultTiming())
}

func startWith(t *testing.T, c config.Config, times timing) *daemon {
	t.Helper()
	d := &daemon{cfg: c, log: newReady(), ended: make(chan error, 1), admin: admin.NewClient(c.AdminSocket)}
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	n := &node{cfg: c, log: slog.New(d.log), build: Build{Version: "test"}, start: time.Now(), timing: times}
	go func() { d.ended <- n.run(ctx) }()
	t.Cleanup(func() {
		if err := d.stop(); err != nil {
			t.Errorf("Run = %v", err)
		}
		if t.Failed() {
			d.log.mu.Lock()
			defer d.log.mu.Unlock()
			t.Log(strings.Join(d.log.texts, "\n"))
		}
	})
	select {
	case d.clients = <-d.log.where:
	case err := <-d.ended:
		d.once.Do(func() { d.err = err })
		t.Fatalf("Run = %v", err)
	}
	if len(c.P2PSecretFiles) > 0 {
		d.peers = <-d.log.peers
	}
	return d
}

func (d *daemon) stop() error {
	d.cancel()
	d.once.Do(func() { d.err = <-d.ended })
	d.admin.Close()
	return d.err
}

// get asks the daemon as containerd does.
func (d *daemon) get(ctx context.Context, client *http.Client, what string) (*http.Response, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.clients+"/v2/library/app/"+what+"?ns=registry.test", http.NoBody)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Accept", manifestType)
	return client.Do(q)
}

// pull pulls the image and reports what is wrong with it.
func (d *daemon) pull(ctx context.Context, r *testRegistry) error {
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	whole := func(what string, want []byte) error {
		res, err := d.get(ctx, client, what)
		if err != nil {
			return err
		}
		defer func() { _ = res.Body.Close() }()
		got, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != http.StatusOK || !bytes.Equal(got, want) {
			return fmt.Errorf("%s: %s, %d of %d bytes, %w", what, res.Status, len(got), len(want), err)
		}
		return nil
	}
	if err := whole("manifests/v1", r.manifest); err != nil {
		return err
	}
	errs := make([]error, len(r.layers))
	var wg sync.WaitGroup
	for i, layer := range r.layers {
		wg.Go(func() { errs[i] = whole("blobs/"+blob.Digest(sha256.Sum256(layer)).String(), layer) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// until asks the daemon for its status until it is as it should be.
func (d *daemon) until(t *testing.T, what string, met func(admin.Status) bool) admin.Status {
	t.Helper()
	ctx := soon(t)
	for {
		status, err := d.admin.Status(ctx)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if met(status) {
			return status
		}
	}
}

func fleet(t *testing.T, r *testRegistry, size int) []*daemon {
	t.Helper()
	secret := secretFile(t)
	daemons := make([]*daemon, size)
	for i := range daemons {
		c := settings(t, r)
		c.P2PSecretFiles = []string{secret}
		if i > 0 {
			c.P2PBootstrap = []string{daemons[0].peers}
		}
		daemons[i] = start(t, c)
	}
	for _, d := range daemons {
		d.until(t, "members", func(s admin.Status) bool { return s.Members == size-1 })
	}
	return daemons
}
