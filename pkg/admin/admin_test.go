package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/shoal-project/shoal/pkg/admin"
	"github.com/shoal-project/shoal/pkg/blob"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// source answers with what it holds; hold, when set, is received from before each answer.
type source struct {
	status admin.Status
	peers  []admin.Peer
	layers []admin.Layer
	err    error
	asked  chan struct{}
	hold   chan struct{}
}

func (s *source) wait(ctx context.Context) error {
	if s.hold == nil {
		return s.err
	}
	s.asked <- struct{}{}
	select {
	case <-s.hold:
		return s.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *source) Status(ctx context.Context) (admin.Status, error) { return s.status, s.wait(ctx) }

func (s *source) Peers(ctx context.Context) ([]admin.Peer, error) { return s.peers, s.wait(ctx) }

func (s *source) Layers(ctx context.Context) ([]admin.Layer, error) { return s.layers, s.wait(ctx) }

var now = time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)

// serve runs a server until the test ends, or until stop is called, which waits for it.
func serve(t *testing.T, src admin.Source) (socket string, stop func()) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "run", "shoal.sock")
	return socket, serveAt(t, socket, src)
}

func serveAt(t *testing.T, socket string, src admin.Source) (stop func()) {
	t.Helper()
	prefetcher, _ := src.(admin.Prefetcher)
	server, err := admin.Listen(t.Context(), admin.Config{
		Socket: socket, Source: src, Prefetcher: prefetcher, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func client(t *testing.T, socket string) *admin.Client {
	t.Helper()
	c := admin.NewClient(socket)
	t.Cleanup(c.Close)
	return c
}

func TestDocumentsArriveAsTheyAre(t *testing.T) {
	earlier, later := now.Add(-time.Hour), now.Add(-time.Minute)
	a, b, c := blob.Digest{1}, blob.Digest{2}, blob.Digest{3}
	src := &source{
		status: admin.Status{
			Version: "v1", PeerID: "P", Membership: admin.MembershipJoined, Members: 2,
			Traffic:   admin.Traffic{FromRegistry: 1, FromPeers: 20, FromStore: 300, ToClients: 321},
			Downloads: []admin.Download{{Blob: b, StartedAt: later, Size: 4, Have: 1}, {Blob: a, StartedAt: earlier, Image: &c}},
			Warnings:  []admin.Warning{{Code: "disk_full", Message: "the disk is full"}},
		},
		peers:  []admin.Peer{{PeerID: "old", MemberSince: earlier}, {PeerID: "new", MemberSince: later, QuarantinedUntil: &now}},
		layers: []admin.Layer{{Blob: a}, {Blob: c, LastUsed: &earlier}, {Blob: b, LastUsed: &later, State: admin.LayerProven}},
	}
	socket, _ := serve(t, src)
	cl := client(t, socket)

	status, err := cl.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if status.SchemaVersion != admin.SchemaVersion || !status.Time.Equal(now) || status.Version != "v1" || status.Members != 2 {
		t.Errorf("status %+v", status)
	}
	if status.Traffic.RegistrySpared != 320 {
		t.Errorf("the registry was spared %d bytes, want what clients got and it did not send", status.Traffic.RegistrySpared)
	}
	if len(status.Downloads) != 2 || status.Downloads[0].Blob != a || *status.Downloads[0].Image != c || status.Downloads[1].Percent() != 25 {
		t.Errorf("downloads %+v, want the oldest first", status.Downloads)
	}
	peers, err := cl.Peers(t.Context())
	if err != nil || peers.Total != 2 || peers.Peers[0].PeerID != "new" || peers.Peers[0].QuarantinedUntil == nil || peers.Peers[1].QuarantinedUntil != nil {
		t.Errorf("peers %+v, %v, want the latest first", peers, err)
	}
	layers, err := cl.Layers(t.Context())
	if err != nil || layers.Total != 3 || layers.Layers[0].Blob != b || layers.Layers[1].Blob != c || layers.Layers[2].LastUsed != nil {
		t.Errorf("layers %+v, %v, want the latest used first", layers, err)
	}
}

func TestListsAreBoundedAndNeverNull(t *testing.T) {
	src := &source{peers: make([]admin.Peer, admin.ListMax+5)}
	for i := range src.peers {
		src.peers[i].PeerID = fmt.Sprintf("peer-%d", i)
	}
	socket, _ := serve(t, src)
	peers, err := client(t, socket).Peers(t.Context())
	if err != nil || peers.Total != admin.ListMax+5 || len(peers.Peers) != admin.ListMax {
		t.Errorf("total %d, listed %d, %v", peers.Total, len(peers.Peers), err)
	}
	for _, path := range []string{"/v1/status", "/v1/layers"} {
		if body := get(t, socket, path); bytes.Contains(body, []byte(`"downloads":null`)) || bytes.Contains(body, []byte(`"layers":null`)) {
			t.Errorf("%s: %s", path, body)
		}
	}
}

// get asks without the client, to see the very bytes.
func get(t *testing.T, socket, path string) []byte {
	t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get("http://shoal" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var body bytes.Buffer
	if _, err := body.ReadFrom(response.Body); err != nil {
		t.Fatal(err)
	}
	return body.Bytes()
}

func TestFailuresHaveTypes(t *testing.T) {
	socket, _ := serve(t, &source{err: errors.New("the engine is gone")})
	_, err := client(t, socket).Status(t.Context())
	if refused, ok := errors.AsType[*admin.RefusedError](err); !ok || refused.Code != 500 || refused.Reason != "the engine is gone" {
		t.Errorf("a failing source: %v", err)
	}
	late, _ := serve(t, &source{err: context.DeadlineExceeded})
	_, err = client(t, late).Layers(t.Context())
	if refused, ok := errors.AsType[*admin.RefusedError](err); !ok || refused.Code != 504 {
		t.Errorf("a source that does not answer: %v", err)
	}

	missing := filepath.Join(t.TempDir(), "none.sock")
	_, err = client(t, missing).Peers(t.Context())
	if unreachable, ok := errors.AsType[*admin.UnreachableError](err); !ok || unreachable.Socket != missing || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no daemon: %v", err)
	}
	if !strings.Contains(err.Error(), "is shoal serve running? looked at "+missing) {
		t.Errorf("no daemon: %v", err)
	}
	denied := &admin.UnreachableError{Socket: "s", Err: fs.ErrPermission}
	if !strings.Contains(denied.Error(), "not allowed") {
		t.Errorf("no permission: %v", denied)
	}
}

func TestUnknownSchema(t *testing.T) {
	for _, answer := range []struct{ body, want string }{
		{`{"schema_version":2}`, "speaks version 2"},
		{`not JSON`, "read the daemon's answer"},
		{`{"schema_version":1,"members":"many"}`, "read the daemon's answer"},
		{`"` + strings.Repeat("a", 32<<20) + `"`, "larger than"},
	} {
		_, err := client(t, pretend(t, answer.body)).Status(t.Context())
		if err == nil || !strings.Contains(err.Error(), answer.want) {
			t.Errorf("got %v, want ...%s...", err, answer.want)
		}
	}
}

// pretend is a daemon that answers everything with body.
func pretend(t *testing.T, body string) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) })}
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close(); <-done })
	return socket
}

func TestOnlyReads(t *testing.T) {
	socket, _ := serve(t, &source{})
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}
	defer transport.CloseIdleConnections()
	for path, want := range map[string]int{"/v1/status": 405, "/v1/other": 404} {
		request, _ := http.NewRequest(http.MethodPost, "http://shoal"+path, strings.NewReader("{}"))
		response, err := (&http.Client{Transport: transport}).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("POST %s: %d, want %d", path, response.StatusCode, want)
		}
	}
}

func TestTooManyAtOnce(t *testing.T) {
	const atOnce = 8
	src := &source{asked: make(chan struct{}), hold: make(chan struct{})}
	socket, _ := serve(t, src)
	var waiting sync.WaitGroup
	for range atOnce {
		cl := client(t, socket)
		waiting.Go(func() {
			if _, err := cl.Status(t.Context()); err != nil {
				t.Error(err)
			}
		})
		<-src.asked
	}
	_, err := client(t, socket).Status(t.Context())
	if refused, ok := errors.AsType[*admin.RefusedError](err); !ok || refused.Code != 503 {
		t.Errorf("one more than is allowed: %v", err)
	}
	close(src.hold)
	waiting.Wait()
}

func TestStopLetsRequestsFinish(t *testing.T) {
	src := &source{asked: make(chan struct{}), hold: make(chan struct{})}
	socket, stop := serve(t, src)
	cl, result := client(t, socket), make(chan error, 1)
	go func() {
		_, err := cl.Status(context.Background())
		result <- err
	}()
	<-src.asked
	stopped := make(chan struct{})
	go func() { defer close(stopped); stop() }()
	close(src.hold)
	if err := <-result; err != nil {
		t.Errorf("a request in progress: %v", err)
	}
	<-stopped
	if _, err := os.Lstat(socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// TestDocumentedSchema fails when docs/admin-api.md does not name a field.
func TestDocumentedSchema(t *testing.T) {
	doc, err := os.ReadFile("../../docs/admin-api.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, document := range []any{
		admin.Status{Downloads: []admin.Download{{}}, Quarantined: []admin.Quarantine{{}}, Warnings: []admin.Warning{{}}},
		admin.PeerList{Peers: []admin.Peer{{}}},
		admin.LayerList{Layers: []admin.Layer{{}}},
		admin.Prefetch{},
		admin.PrefetchOrder{},
	} {
		text, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		var fields any
		if err := json.Unmarshal(text, &fields); err != nil {
			t.Fatal(err)
		}
		for _, key := range keys(fields) {
			if !bytes.Contains(doc, []byte("`"+key+"`")) {
				t.Errorf("%T: `%s` is not in docs/admin-api.md", document, key)
			}
		}
	}
}

func keys(v any) []string {
	var found []string
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			found = append(append(found, k), keys(inner)...)
		}
	case []any:
		for _, inner := range v {
			found = append(found, keys(inner)...)
		}
	}
	return found
}
