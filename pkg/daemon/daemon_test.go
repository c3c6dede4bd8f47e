package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-project/shoal/pkg/admin"
	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/config"
	"github.com/shoal-project/shoal/pkg/engine"
	"github.com/shoal-project/shoal/pkg/store"
)

func TestTheSecondNodePullsFromTheFirst(t *testing.T) {
	r := newRegistry(t, 3<<20+5, 700<<10, 100)
	nodes := fleet(t, r, 2)
	if err := nodes[0].pull(soon(t), r); err != nil {
		t.Fatal(err)
	}
	once := r.sent.Load()
	r.set(func() { r.down = true })
	if err := nodes[1].pull(soon(t), r); err != nil {
		t.Fatal(err)
	}
	if sent := r.sent.Load(); sent != once {
		t.Errorf("the registry sent %d bytes more", sent-once)
	}
	status := nodes[1].until(t, "traffic", func(s admin.Status) bool { return s.Traffic.FromPeers > 0 })
	if status.Membership != admin.MembershipJoined || len(status.Quarantined) > 0 {
		t.Errorf("%+v", status)
	}
	peers, err := nodes[1].admin.Peers(soon(t))
	if err != nil || len(peers.Peers) != 1 || peers.Peers[0].BytesIn == 0 || peers.Peers[0].Failures != 0 {
		t.Errorf("%+v, %v", peers, err)
	}
	layers, err := nodes[1].admin.Layers(soon(t))
	if err != nil || len(layers.Layers) < len(r.layers) {
		t.Errorf("%+v, %v", layers, err)
	}
}

func TestThreeNodesPullTogether(t *testing.T) {
	r := newRegistry(t, 6<<20+1, 2<<20)
	nodes := fleet(t, r, 3)
	var wg sync.WaitGroup
	for _, d := range nodes {
		wg.Go(func() {
			if err := d.pull(soon(t), r); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, d := range nodes {
		if s := d.until(t, "the end", func(s admin.Status) bool { return len(s.Downloads) == 0 }); len(s.Quarantined) > 0 {
			t.Errorf("quarantined: %+v", s.Quarantined)
		}
	}
}

// A restarted node tells the others again of what it has.
func TestARestartedNodeSeeds(t *testing.T) {
	r := newRegistry(t, 2<<20)
	secret := secretFile(t)
	c := settings(t, r)
	c.P2PSecretFiles = []string{secret}
	first := start(t, c)
	if err := first.pull(soon(t), r); err != nil {
		t.Fatal(err)
	}
	first.until(t, "the store", func(s admin.Status) bool { return s.Store.Partial == 0 && s.Store.Blobs > 0 })
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	r.set(func() { r.down = true })
	first = start(t, c)
	other := settings(t, r)
	other.P2PSecretFiles, other.P2PBootstrap = c.P2PSecretFiles, []string{first.peers}
	second := start(t, other)
	second.until(t, "a member", func(s admin.Status) bool { return s.Members == 1 })
	if err := second.pull(soon(t), r); err != nil {
		t.Error(err)
	}
}

// A registry with a CA of its own is read over TLS with what certs-dir holds, and what is not
// followed there stands in the status.
func TestCertificatesOfARegistry(t *testing.T) {
	r := newRegistry(t, 100_000)
	secure := httptest.NewTLSServer(r)
	t.Cleanup(secure.Close)
	c := settings(t, r)
	c.CertsDir = t.TempDir()
	c.Upstreams["registry.test"] = secure.URL
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	folder := filepath.Join(c.CertsDir, "registry.test")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"ca.pem": string(ca), "hosts.toml": "[host.\"" + secure.URL + "\"]\nca = \"ca.pem\"\nskip_verify = true"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := start(t, c)
	if err := d.pull(soon(t), r); err != nil {
		t.Fatal(err)
	}
	d.until(t, "the warning", func(s admin.Status) bool {
		return slices.ContainsFunc(s.Warnings, func(w admin.Warning) bool {
			return w.Code == "certificates" && strings.Contains(w.Message, "skip_verify")
		})
	})
}

func TestAloneWithoutASecret(t *testing.T) {
	r := newRegistry(t, 1<<20)
	d := start(t, settings(t, r))
	if err := d.pull(soon(t), r); err != nil {
		t.Fatal(err)
	}
	status := d.until(t, "the store", func(s admin.Status) bool { return s.Store.Blobs > 1 })
	codes := map[string]int{}
	for _, w := range status.Warnings {
		codes[w.Code]++
	}
	if status.Membership != admin.MembershipNoSecret || codes["no_secret"] != 1 || codes["upstream_insecure"] != 1 || len(codes) != 2 {
		t.Errorf("%s, %+v", status.Membership, status.Warnings)
	}
}

// Told to stop, the daemon lets bodies finish for a while, and then cuts them by FIN.
func TestStopInMidBody(t *testing.T) {
	r := newRegistry(t, 4<<20)
	hold := make(chan struct{})
	defer close(hold)
	r.set(func() { r.hold = hold })
	times := defaultTiming()
	times.bodies = 100 * time.Millisecond
	d := startWith(t, settings(t, r), times)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	if res, err := d.get(soon(t), client, "manifests/v1"); err != nil {
		t.Fatal(err)
	} else {
		_ = res.Body.Close()
	}
	res, err := d.get(soon(t), client, "blobs/"+blob.Digest(sha256.Sum256(r.layers[0])).String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if _, err := io.ReadFull(res.Body, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	d.cancel()
	_, err = io.Copy(io.Discard, res.Body)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the body ended with %v", err)
	}
	if err := d.stop(); err != nil || time.Since(began) > 5*time.Second {
		t.Errorf("stopped after %s: %v", time.Since(began), err)
	}
}

// What keeps a daemon from starting is said in a sentence, and leaves nothing behind.
func TestWhatKeepsADaemonFromStarting(t *testing.T) {
	r := newRegistry(t)
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	running := start(t, settings(t, r))
	_, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	secret := secretFile(t)
	for name, c := range map[string]struct {
		change func(*config.Config)
		is     error
		says   string
	}{
		"clients' port":  {func(c *config.Config) { c.Listen = taken.Addr().String() }, syscall.EADDRINUSE, "--listen"},
		"metrics' port":  {func(c *config.Config) { c.MetricsListen = taken.Addr().String() }, syscall.EADDRINUSE, "--metrics-listen"},
		"data folder":    {func(c *config.Config) { c.DataDir = running.cfg.DataDir }, store.ErrLocked, running.cfg.DataDir},
		"admin socket":   {func(c *config.Config) { c.AdminSocket = running.cfg.AdminSocket }, admin.ErrRunning, "running"},
		"no secret file": {func(c *config.Config) { c.P2PSecretFiles = []string{"/nowhere/secret"} }, os.ErrNotExist, "shoal secret"},
		"bad secret": {func(c *config.Config) {
			file := filepath.Join(t.TempDir(), "secret")
			if err := os.WriteFile(file, []byte("not one"), 0o600); err != nil {
				t.Fatal(err)
			}
			c.P2PSecretFiles = []string{file}
		}, nil, "shoal secret"},
		"peers' port": {func(c *config.Config) {
			c.P2PSecretFiles = []string{secret}
			c.P2PListen = []string{"/ip4/127.0.0.1/tcp/" + port}
		}, syscall.EADDRINUSE, "in use"},
		"bootstrap": {func(c *config.Config) {
			c.P2PSecretFiles, c.P2PBootstrap = []string{secret}, []string{"nonsense"}
		}, nil, "nonsense"},
		"upstream": {func(c *config.Config) { c.Upstreams = map[string]string{"a b": "://"} }, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := settings(t, r)
			changed := before
			c.change(&changed)
			err := Run(soon(t), changed, slog.New(slog.DiscardHandler), Build{Version: "test"})
			if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Run = %v", err)
			}
			if changed.DataDir == before.DataDir { // nothing holds the folder any more
				if err := start(t, before).stop(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// A daemon whose engine hangs ends all the same, without waiting for it.
func TestHungEngineEndsTheDaemon(t *testing.T) {
	st, err := store.Open(store.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	log := slog.New(slog.DiscardHandler)
	n := &node{log: log, engine: engine.New(engine.Config{Store: st, Log: log}), timing: timing{watch: 1, hung: 1}}
	if err := n.watch(t.Context()); !errors.Is(err, errHung) {
		t.Errorf("watch = %v", err)
	}
	never, free := make(chan struct{}), make(chan struct{})
	err = n.within(time.Millisecond, "stop", func() error { defer close(free); <-never; return nil })
	if !errors.Is(err, ErrStuck) {
		t.Errorf("within = %v", err)
	}
	close(never)
	<-free
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.watch(ctx); err != nil {
		t.Errorf("watch of a daemon that stops = %v", err)
	}
}
