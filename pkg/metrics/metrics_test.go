package metrics_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/shoal-project/shoal/pkg/admin"
	"github.com/shoal-project/shoal/pkg/metrics"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func fine(context.Context) error { return nil }

func status(context.Context) (admin.Status, error) {
	effective := true
	return admin.Status{
		Members: 3, StartedAt: time.Unix(100, 500e6),
		Traffic:    admin.Traffic{FromRegistry: 1, FromPeers: 20, FromStore: 300, ToPeers: 4000, ToClients: 50000, UpstreamRequests: 6},
		Store:      admin.Store{Blobs: 7, Partial: 8, Bytes: 9, MaxBytes: 10},
		Containerd: admin.Containerd{MirrorEffective: &effective, Followed: true, Blobs: 11, Bytes: 12, WaitingBytes: 13},
		Downloads:  []admin.Download{{}, {}}, Quarantined: []admin.Quarantine{{}},
		Warnings: []admin.Warning{{Code: "http_upstream"}, {Code: "http_upstream"}, {Code: "disk_full"}},
	}, nil
}

func build(t *testing.T, c metrics.Config) *metrics.Metrics {
	t.Helper()
	if c.Status == nil {
		c.Status = status
	}
	if c.Live == nil {
		c.Live = fine
	}
	if c.Ready == nil {
		c.Ready = fine
	}
	m, err := metrics.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, http.NoBody))
	return w.Code, w.Body.String()
}

func want(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+text, "\n"+line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
}

func TestFiguresAreThoseOfTheStatus(t *testing.T) {
	m := build(t, metrics.Config{
		Version: "v1.2.3", Commit: "abc",
		Outcomes: func() []metrics.Outcome { return []metrics.Outcome{{Kind: "blob", Outcome: "served", Count: 5}} },
	})
	m.Quarantined("bad_chunk")
	m.Quarantined("bad_chunk")
	m.Audited()
	code, text := get(t, m.Handler(), "/metrics")
	if code != http.StatusOK {
		t.Fatal(code, text)
	}
	want(t, text,
		`shoal_content_bytes_total{source="registry"} 1`, `shoal_content_bytes_total{source="peers"} 20`, `shoal_content_bytes_total{source="store"} 300`,
		`shoal_upload_bytes_total 4000`, `shoal_client_bytes_total 50000`, `shoal_upstream_requests_total 6`,
		`shoal_members 3`, `shoal_downloads_in_progress 2`, `shoal_quarantined_peers 1`, `shoal_start_time_seconds 100.5`,
		`shoal_store_blobs 7`, `shoal_store_partial_blobs 8`, `shoal_store_bytes 9`, `shoal_store_max_bytes 10`,
		`shoal_containerd_mirror_effective 1`, `shoal_containerd_followed 1`, `shoal_containerd_blobs 11`, `shoal_containerd_bytes 12`, `shoal_containerd_waiting_bytes 13`,
		`shoal_warnings{code="http_upstream"} 2`, `shoal_warnings{code="disk_full"} 1`, `shoal_status_answered 1`,
		`shoal_quarantines_total{reason="bad_chunk"} 2`, `shoal_audits_total 1`, `shoal_proxy_outcomes_total{kind="blob",outcome="served"} 5`,
	)
	for _, part := range []string{`shoal_build_info{commit="abc",goversion="go`, `version="v1.2.3"} 1`, "\ngo_goroutines ", "\nprocess_open_fds "} {
		if !strings.Contains(text, part) {
			t.Errorf("no %q", part)
		}
	}
	problems, err := testutil.GatherAndLint(metrics.Registry(m))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestMirrorThatCannotBeTold(t *testing.T) {
	m := build(t, metrics.Config{Status: func(context.Context) (admin.Status, error) { return admin.Status{}, nil }})
	if _, text := get(t, m.Handler(), "/metrics"); strings.Contains(text, "\nshoal_containerd_mirror_effective") {
		t.Error("it is told all the same")
	}
}

func TestWithoutStatusTheFiguresAreMissing(t *testing.T) {
	m := build(t, metrics.Config{Status: func(ctx context.Context) (admin.Status, error) {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("no deadline")
		}
		return admin.Status{}, errors.New("the engine is gone")
	}})
	code, text := get(t, m.Handler(), "/metrics")
	if code != http.StatusOK || strings.Contains(text, "shoal_members") {
		t.Errorf("%d %s", code, text)
	}
	want(t, text, `shoal_status_answered 0`)
}

func TestReasonsAreBounded(t *testing.T) {
	m := build(t, metrics.Config{})
	for i := range 100 {
		m.Quarantined(strings.Repeat("\xff-", i))
	}
	_, text := get(t, m.Handler(), "/metrics")
	if n := strings.Count(text, "\nshoal_quarantines_total{"); n != 17 {
		t.Errorf("%d reasons, want 16 and other", n)
	}
	want(t, text, `shoal_quarantines_total{reason="other"} 84`)
}

// A liar is named as long as it is refused, and not only counted. Of very many some are.
func TestQuarantinedPeersAreNamed(t *testing.T) {
	var list []admin.Quarantine
	m := build(t, metrics.Config{Status: func(context.Context) (admin.Status, error) { return admin.Status{Quarantined: list}, nil }})
	scrape := func() string {
		t.Helper()
		code, text := get(t, m.Handler(), "/metrics")
		if code != http.StatusOK {
			t.Fatal(code, text)
		}
		return text
	}
	if text := scrape(); strings.Contains(text, "shoal_quarantined_peer{") {
		t.Error("somebody is named while nobody is refused")
	}
	list = []admin.Quarantine{{PeerID: "12D3KooWa"}, {PeerID: "12D3KooWb\xff"}, {PeerID: "12D3KooWa"}}
	want(t, scrape(), `shoal_quarantined_peer{peer="12D3KooWa"} 1`, `shoal_quarantined_peer{peer="12D3KooWb?"} 1`, `shoal_quarantined_peers 3`)
	list = make([]admin.Quarantine, 0, 1000)
	for i := range 1000 {
		list = append(list, admin.Quarantine{PeerID: fmt.Sprint("peer-", i), Until: time.Unix(int64(i), 0)})
	}
	text := scrape()
	if n := strings.Count(text, "\nshoal_quarantined_peer{"); n != 64 {
		t.Errorf("%d peers are named, want 64", n)
	}
	want(t, text, `shoal_quarantined_peer{peer="peer-999"} 1`, `shoal_quarantined_peer{peer="peer-936"} 1`, `shoal_quarantined_peers 1000`)
}

func TestProbes(t *testing.T) {
	m := build(t, metrics.Config{
		Live: func(ctx context.Context) error {
			if _, ok := ctx.Deadline(); !ok {
				t.Error("no deadline")
			}
			return errors.New("the engine does not answer")
		},
	})
	if code, text := get(t, m.Handler(), "/healthz"); code != 503 || text != "the engine does not answer\n" {
		t.Errorf("/healthz: %d %q", code, text)
	}
	if code, text := get(t, m.Handler(), "/readyz"); code != 200 || text != "ok\n" {
		t.Errorf("/readyz: %d %q", code, text)
	}
}

func TestProfilesOnlyWhenAskedFor(t *testing.T) {
	if code, _ := get(t, build(t, metrics.Config{}).Handler(), "/debug/pprof/"); code != 404 {
		t.Errorf("not asked for: %d", code)
	}
	m := build(t, metrics.Config{Pprof: true})
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/goroutine"} {
		if code, _ := get(t, m.Handler(), path); code != 200 {
			t.Errorf("%s: %d", path, code)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	if _, err := metrics.New(metrics.Config{}); err == nil {
		t.Error("an empty config is accepted")
	}
}

func TestInstrumentCountsByKindMethodAndCode(t *testing.T) {
	m := build(t, metrics.Config{})
	h := m.Instrument(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("do") {
		case "fail":
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusNotFound)
		case "strange":
			w.WriteHeader(999)
		case "abort":
			panic(http.ErrAbortHandler)
		case "write":
			_, _ = io.WriteString(w, "body")
		}
	}))
	for _, request := range [][2]string{
		{"GET", "/v2/"},
		{"GET", "/v2"},
		{"HEAD", "/v2/library/nginx/manifests/latest"},
		{"GET", "/v2/a/blobs/sha256:00?do=write"},
		{"GET", "/v2/a/blobs/sha256:00?do=fail"},
		{"GET", "/v2/a/tags/list"},
		{"GET", "/v2/a/referrers/sha256:00?do=strange"},
		{"BREW", "/coffee"},
		{"GET", "/v2/x"},
		{"GET", "/v2/a/blobs/sha256:00?do=abort"},
	} {
		func() {
			defer func() {
				if err, ok := recover().(error); ok && !errors.Is(err, http.ErrAbortHandler) {
					panic(err)
				}
			}()
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(request[0], request[1], http.NoBody))
		}()
	}
	_, text := get(t, m.Handler(), "/metrics")
	want(t, text,
		`shoal_http_requests_total{code="200",kind="ping",method="GET"} 2`,
		`shoal_http_requests_total{code="200",kind="manifest",method="HEAD"} 1`,
		`shoal_http_requests_total{code="200",kind="blob",method="GET"} 1`,
		`shoal_http_requests_total{code="404",kind="blob",method="GET"} 1`,
		`shoal_http_requests_total{code="none",kind="blob",method="GET"} 1`,
		`shoal_http_requests_total{code="200",kind="tags",method="GET"} 1`,
		`shoal_http_requests_total{code="other",kind="referrers",method="GET"} 1`,
		`shoal_http_requests_total{code="200",kind="other",method="other"} 1`,
		`shoal_http_requests_total{code="200",kind="other",method="GET"} 1`,
		`shoal_http_requests_in_flight 0`,
		`shoal_http_first_byte_seconds_count{kind="blob"} 3`,
	)
}

func TestFirstByteIsTimed(t *testing.T) {
	clock := time.Unix(0, 0)
	m := build(t, metrics.Config{Now: func() time.Time { return clock }})
	h := m.Instrument(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush() // headers are not what a client waits for
		clock = clock.Add(2 * time.Second)
		_, _ = io.WriteString(w, "first")
		clock = clock.Add(time.Hour)
		_, _ = io.WriteString(w, "last")
	}))
	h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/v2/a/blobs/b", http.NoBody))
	_, text := get(t, m.Handler(), "/metrics")
	want(t, text, `shoal_http_first_byte_seconds_sum{kind="blob"} 2`)
}

// A file must still reach the connection through ReadFrom, where sendfile is.
func TestInstrumentKeepsReadFrom(t *testing.T) {
	path := filepath.Join(t.TempDir(), "layer")
	content := bytes.Repeat([]byte("layer"), 100_000)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	m := build(t, metrics.Config{})
	var passed bool
	h := m.Instrument(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		f, err := os.Open(path)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = f.Close() }()
		_, passed = w.(io.ReaderFrom)
		if n, err := io.Copy(w, f); err != nil || n != int64(len(content)) {
			t.Error(n, err)
		}
	}))
	server := httptest.NewServer(h)
	defer server.Close()
	response, err := server.Client().Get(server.URL + "/v2/a/blobs/b")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if body, err := io.ReadAll(response.Body); err != nil || !bytes.Equal(body, content) || !passed {
		t.Errorf("%d bytes, %v, ReaderFrom %v", len(body), err, passed)
	}
	w := httptest.NewRecorder() // has no ReadFrom of its own
	h.ServeHTTP(w, httptest.NewRequest("GET", "/v2/a/blobs/b", http.NoBody))
	if !bytes.Equal(w.Body.Bytes(), content) {
		t.Errorf("%d bytes", w.Body.Len())
	}
}
