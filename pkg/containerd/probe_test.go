package containerd_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/shoal-project/shoal/pkg/containerd"
	"github.com/shoal-project/shoal/pkg/containerd/hoststoml"
	"github.com/shoal-project/shoal/pkg/probeimage"
)

// A prober is a containerd and a Shoal that only know pulls of the probe.
type prober struct {
	refs  []string
	asked int   // what the daemon has seen of each
	err   error // of each pull
}

func (p *prober) probe() containerd.Probe {
	return containerd.Probe{
		Pull: func(_ context.Context, reference string) error {
			p.refs = append(p.refs, reference)
			return p.err
		},
		Asked: func(_ context.Context, _ hoststoml.Mirror, tag string) (int, error) {
			if last := p.refs[len(p.refs)-1]; !strings.HasSuffix(last, ":"+tag) {
				return 0, fmt.Errorf("asked about %s after %s", tag, last)
			}
			return p.asked, nil
		},
	}
}

func TestCheckProves(t *testing.T) {
	m := configured(t, files{certsDir + "/docker.io/hosts.toml": mirrorTable})
	for name, c := range map[string]struct {
		p    prober
		want string
		as   containerd.Probed
	}{
		"by Shoal":          {prober{asked: 2}, "", containerd.ProbedThroughShoal},
		"by another":        {prober{}, "problem probe_elsewhere docker.io", containerd.ProbedElsewhere},
		"asked, and failed": {prober{asked: 1, err: errors.New("no space left")}, "problem probe_failed docker.io", containerd.ProbedFailed},
		"never asked":       {prober{err: errors.New(strings.Repeat("not found ", 1000))}, "problem probe_failed docker.io", containerd.ProbedFailed},
	} {
		report, err := m.open().Check(t.Context(), containerd.CheckRequest{Registries: []string{"docker.io"}, Probe: c.p.probe()})
		if err != nil || strings.Join(codes(report.Findings), "") != c.want || report.Effective != (c.want == "") || report.Registries[0].Probed != c.as {
			t.Errorf("%s: %+v, %v", name, report, err)
		}
		if len(c.p.refs) != 1 || !strings.HasPrefix(c.p.refs[0], "docker.io/"+probeimage.Repository+":") {
			t.Errorf("%s: pulled %v", name, c.p.refs)
		}
		for _, f := range report.Findings {
			if len(f.Message) > 500 {
				t.Errorf("%s: a sentence of %d bytes", name, len(f.Message))
			}
		}
	}
}

// Each pull is of a tag of its own; what containerd does not ask Shoal for is not pulled.
func TestProbesAreFreshAndBounded(t *testing.T) {
	m := configured(t, files{certsDir + "/elsewhere.example/hosts.toml": "server = 'https://elsewhere.example'\n", certsDir + "/_default/hosts.toml": mirrorTable})
	const many = 20
	asked := append(make([]string, 0, many+2), "elsewhere.example", containerd.Default)
	for i := range many {
		asked = append(asked, fmt.Sprintf("r%d.example", i))
	}
	p := prober{asked: 1}
	report, err := m.open().Check(t.Context(), containerd.CheckRequest{Registries: asked, Probe: p.probe()})
	if err != nil || !slices.Contains(codes(report.Findings), "note probes_limited") {
		t.Fatalf("%v, %v", codes(report.Findings), err)
	}
	tags := map[string]bool{}
	for _, ref := range p.refs {
		registry, tag, _ := strings.Cut(ref, "/"+probeimage.Repository+":")
		tags[tag] = true
		if registry == "elsewhere.example" || registry == containerd.Default {
			t.Errorf("pulled %s", ref)
		}
	}
	if len(p.refs) != 16 || len(tags) != 16 || !strings.HasPrefix(p.refs[0], probeimage.Registry+"/") {
		t.Errorf("%d pulls of %d tags, the first %s", len(p.refs), len(tags), p.refs[0])
	}
}

func TestNoProbeWhereThereIsNobodyToAsk(t *testing.T) {
	m := configured(t, files{certsDir + "/docker.io/hosts.toml": mirrorTable})
	p := prober{}
	down := func(context.Context, hoststoml.Mirror) error { return errors.New("connection refused") }
	report, err := m.open().Check(t.Context(), containerd.CheckRequest{Ask: down, Probe: p.probe()})
	if err != nil || len(p.refs) != 0 || !slices.Contains(codes(report.Findings), "problem daemon_down") {
		t.Errorf("pulled %v with the daemon down: %v, %v", p.refs, codes(report.Findings), err)
	}
	p.err = fmt.Errorf("%w: connection refused", containerd.ErrNoRuntime)
	if _, err := m.open().Check(t.Context(), containerd.CheckRequest{Probe: p.probe()}); !errors.Is(err, containerd.ErrNoRuntime) {
		t.Errorf("without containerd: %v", err)
	}
}

func TestAsked(t *testing.T) {
	header := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/"+probeimage.Repository+"/manifests/fresh" {
			t.Errorf("asked for %s", r.URL)
		}
		w.Header().Set("Server", probeimage.Server)
		w.Header().Set(probeimage.AskedHeader, header)
	}))
	t.Cleanup(server.Close)
	mirror, err := hoststoml.ParseMirror(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]int{"0": 0, "7": 7, "": -1, "-1": -1, "many": -1} {
		header = value
		got, err := containerd.Asked(t.Context(), mirror, "fresh")
		if want >= 0 && (got != want || err != nil) || want < 0 && err == nil {
			t.Errorf("%q: %d, %v", value, got, err)
		}
	}
}

func TestSocket(t *testing.T) {
	for name, c := range map[string]struct {
		files files
		want  string
	}{
		"containerd's default": {files{mainFile: setting}, "/run/containerd/containerd.sock"},
		"as configured":        {files{mainFile: setting + "[grpc]\naddress = '/run/other.sock'\n"}, "/run/other.sock"},
		"k3s":                  {files{"/var/lib/rancher/k3s/agent/etc/containerd/config.toml": setting}, "/run/k3s/containerd/containerd.sock"},
	} {
		m := newMachine(t, c.files)
		if got := m.open().Socket(); got != m.path(c.want) {
			t.Errorf("%s: %s", name, got)
		}
	}
}
