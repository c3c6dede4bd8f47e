package containerd_test

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/shoal-project/shoal/pkg/containerd"
	"github.com/shoal-project/shoal/pkg/containerd/hoststoml"
)

const mirrorTable = "[host.\"http://127.0.0.1:6050\"]\ncapabilities = [\"pull\", \"resolve\"]\n"

// Everything that keeps pulls from Shoal has a name, a sentence and something to do.
func TestCheck(t *testing.T) {
	docker := certsDir + "/docker.io/hosts.toml"
	list := "version = 3\n[plugins.'io.containerd.cri.v1.images'.registry]\nconfig_path = '/etc/containerd/certs.d:/etc/docker/certs.d'\n"
	for name, c := range map[string]struct {
		files     files
		asked     []string
		effective bool
		want      []string
		message   string // of the first finding
	}{
		"all well":        {files{mainFile: setting, docker: mirrorTable}, nil, true, nil, ""},
		"asked by name":   {files{mainFile: setting, docker: mirrorTable}, []string{"docker.io"}, true, nil, ""},
		"by default":      {files{mainFile: setting, certsDir + "/_default/hosts.toml": mirrorTable}, []string{"docker.io", "ghcr.io"}, true, nil, ""},
		"by its port":     {files{mainFile: setting, certsDir + "/a.example_5000_/hosts.toml": mirrorTable}, []string{"a.example:5000"}, true, nil, ""},
		"no config":       {files{docker: mirrorTable}, nil, false, []string{"problem no_config_path"}, "there is no /etc/containerd/config.toml"},
		"no config_path":  {files{mainFile: "version = 2\n", docker: mirrorTable}, nil, false, []string{"problem no_config_path"}, "is not set in /etc/containerd/config.toml"},
		"older path":      {files{mainFile: "version = 3\n[plugins.'io.containerd.cri.v1.images']\nuse_local_image_pull = true\n", docker: mirrorTable}, nil, true, nil, ""},
		"two folders":     {files{mainFile: list, docker: mirrorTable}, nil, false, []string{"problem two_folders"}, "for the name of one folder"},
		"broken config":   {files{mainFile: "version = 3\n[x\n", docker: mirrorTable}, nil, false, []string{"problem config_broken"}, "/etc/containerd/config.toml, line 2: "},
		"no CRI":          {files{mainFile: "disabled_plugins = ['cri']\n"}, nil, false, []string{"problem cri_disabled"}, "turned off"},
		"legacy":          {files{mainFile: "version = 2\n[plugins.'io.containerd.grpc.v1.cri'.registry.mirrors.'docker.io']\nendpoint = ['http://127.0.0.1:6050']\n"}, nil, false, []string{"problem legacy_mirrors"}, "excludes"},
		"nothing there":   {files{mainFile: setting}, nil, false, []string{"problem nothing_covered"}, "no hosts.toml in /etc/containerd/certs.d names"},
		"not covered":     {files{mainFile: setting, docker: mirrorTable}, []string{"quay.io"}, false, []string{"problem not_covered quay.io"}, "asks the registry itself"},
		"an empty folder": {files{mainFile: setting, certsDir + "/docker.io/": ""}, []string{"docker.io"}, false, []string{"problem not_covered docker.io"}, "without a hosts.toml"},
		"an empty file":   {files{mainFile: setting, docker: ""}, []string{"docker.io"}, false, []string{"problem not_covered docker.io"}, "without a hosts.toml"},
		"another mirror":  {files{mainFile: setting, docker: companyToml}, []string{"docker.io"}, false, []string{"problem not_covered docker.io"}, "does not name Shoal's mirror"},
		"a hidden folder": {
			files{mainFile: setting, certsDir + "/a.example_5000_/ca.crt": "", certsDir + "/a.example:5000/hosts.toml": mirrorTable},
			[]string{"a.example:5000"},
			false,
			[]string{"problem not_covered a.example:5000"},
			"/etc/containerd/certs.d/a.example_5000_ without",
		},
		"malformed":        {files{mainFile: setting, docker: "[host\n" + mirrorTable}, []string{"docker.io"}, false, []string{"problem malformed docker.io"}, "goes on without it: line 1"},
		"an unknown word":  {files{mainFile: setting, docker: strings.Replace(mirrorTable, "resolve", "find", 1)}, []string{"docker.io"}, false, []string{"problem malformed docker.io"}, `unknown capability "find"`},
		"half of it":       {files{mainFile: setting, docker: strings.Replace(mirrorTable, ", \"resolve\"", "", 1)}, nil, false, []string{"problem capabilities docker.io"}, "both capabilities"},
		"not first":        {files{mainFile: setting, docker: companyToml + mirrorTable}, []string{"docker.io"}, false, []string{"problem not_first docker.io"}, "names https://cache.example before Shoal"},
		"another port":     {files{mainFile: setting, docker: strings.Replace(mirrorTable, "6050", "5000", 1)}, []string{"docker.io"}, false, []string{"problem wrong_port docker.io"}, "names http://127.0.0.1:5000 on loopback, but Shoal is at http://127.0.0.1:6050"},
		"enforced by hand": {files{mainFile: setting, docker: "server = \"http://localhost:6050\"\n"}, nil, true, []string{"note enforced docker.io"}, "no way around"},
		"a shadow":         {files{mainFile: setting, certsDir + "/_default/hosts.toml": mirrorTable, docker: companyToml}, nil, true, []string{"warning shadowed docker.io"}, "instead of _default"},
		"a shadow asked":   {files{mainFile: setting, certsDir + "/_default/hosts.toml": mirrorTable, docker: companyToml}, []string{"docker.io"}, false, []string{"problem not_covered docker.io"}, ""},
		"discarded layers": {
			files{mainFile: strings.Replace(setting, "[", "[plugins.'io.containerd.cri.v1.images']\ndiscard_unpacked_layers = true\n[", 1), docker: mirrorTable},
			nil, true,
			[]string{"note discards_layers"},
			"own store",
		},
		"a pipe's place":      {files{mainFile: setting, docker + "/x": ""}, []string{"docker.io"}, false, []string{"problem unreadable docker.io"}, "not a regular file"},
		"a dangling link":     {files{mainFile: setting, docker: "-> /nowhere"}, []string{"docker.io"}, false, []string{"problem not_covered docker.io"}, ""},
		"others are not told": {files{mainFile: setting, docker: mirrorTable, certsDir + "/quay.io/hosts.toml": "[x\n"}, nil, true, nil, ""},
	} {
		m := newMachine(t, c.files)
		before := m.snapshot()
		report := m.check(c.asked...)
		if report.Effective != c.effective {
			t.Errorf("%s: effective is %v", name, report.Effective)
		}
		wantList(t, name, codes(report.Findings), c.want...)
		if c.message != "" && (len(report.Findings) == 0 || !strings.Contains(report.Findings[0].Message, c.message)) {
			t.Errorf("%s: %+v", name, report.Findings)
		}
		for _, f := range report.Findings {
			if f.Severity != containerd.Note && f.Remedy == "" || strings.Contains(f.Message+f.Remedy, m.root) {
				t.Errorf("%s: %+v", name, f)
			}
		}
		if d := differences(before, m.snapshot()); d != nil {
			t.Errorf("%s: the check changed %q", name, d)
		}
	}
}

// What was installed is what is expected afterwards, without naming it again.
func TestCheckKnowsWhatWasInstalled(t *testing.T) {
	m := configured(t)
	m.install("docker.io", "quay.io")
	if report := m.check(); !report.Effective || len(report.Registries) != 2 || !report.Registries[0].Asked {
		t.Errorf("%+v", report)
	}
	m.write(certsDir+"/quay.io/hosts.toml", companyToml) // somebody else's tool
	report := m.check()
	wantList(t, "check", codes(report.Findings), "problem not_covered quay.io")
	if report.Effective {
		t.Error("half of it is effective")
	}
}

func TestCheckJSONIsStable(t *testing.T) {
	m := configured(t, files{certsDir + "/docker.io/hosts.toml": mirrorTable})
	text, err := json.Marshal(m.check("docker.io"))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"schema_version":1,"effective":true,"mirror":"http://127.0.0.1:6050","config_file":"/etc/containerd/config.toml",` +
		`"config_path":"/etc/containerd/certs.d","config_path_file":"/etc/containerd/config.toml","folders":["/etc/containerd/certs.d"],` +
		`"registries":[{"name":"docker.io","file":"/etc/containerd/certs.d/docker.io/hosts.toml","state":"through_shoal","asked":true,"probed":""}],"findings":[]}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
}

func askAt(t *testing.T, address string) error {
	t.Helper()
	mirror, err := hoststoml.ParseMirror(address)
	if err != nil {
		t.Fatal(err)
	}
	return containerd.Ask(t.Context(), mirror)
}

func TestAsk(t *testing.T) {
	answers := func(status int, header string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v2/" {
				t.Errorf("asked for %s", r.URL)
			}
			w.Header().Set("Server", header)
			w.WriteHeader(status)
		}))
		t.Cleanup(server.Close)
		return server.Listener.Addr().String()
	}
	if err := askAt(t, answers(http.StatusOK, "shoal")); err != nil {
		t.Error(err)
	}
	for _, address := range []string{answers(http.StatusOK, ""), answers(http.StatusOK, "nginx"), answers(http.StatusNotFound, "shoal"), answers(http.StatusFound, "shoal")} {
		if err := askAt(t, address); err == nil || !strings.Contains(err.Error(), "is not Shoal") {
			t.Errorf("%v", err)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := askAt(t, address); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("%v", err)
	}
}

func TestCheckAsksShoal(t *testing.T) {
	m := configured(t, files{certsDir + "/docker.io/hosts.toml": mirrorTable})
	for err, want := range map[error]string{
		nil: "", errors.New("connection refused"): "problem daemon_down", &containerd.StrangerError{URL: "x"}: "problem daemon_strange",
	} {
		report, checkErr := m.open().Check(t.Context(), containerd.CheckRequest{Ask: func(context.Context, hoststoml.Mirror) error { return err }})
		if checkErr != nil || report.Effective != (err == nil) || strings.Join(codes(report.Findings), "") != want {
			t.Errorf("%v: %+v, %v", err, report, checkErr)
		}
		if report.Problems(containerd.CodeDaemonDown) != (want == "problem daemon_strange") {
			t.Errorf("%v: problems beside a daemon that is down", err)
		}
	}
}

func TestLookAt(t *testing.T) {
	m := configured(t)
	want := func(want containerd.Look) {
		t.Helper()
		if got, err := containerd.LookAt(t.Context(), m.options()); got != want || err != nil {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
	}
	want(containerd.Look{Configured: true})
	m.install("docker.io")
	want(containerd.Look{Effective: true, Configured: true})
	m.write(mainFile, setting+"[plugins.'io.containerd.cri.v1.images']\ndiscard_unpacked_layers = true\n")
	want(containerd.Look{Effective: true, Configured: true, DiscardsLayers: true})
	m.remove(mainFile)
	if _, err := containerd.LookAt(t.Context(), m.options()); !errors.Is(err, containerd.ErrNoConfig) {
		t.Errorf("without a configuration: %v", err)
	}
	o := m.options()
	o.Root += "/missing"
	if _, err := containerd.LookAt(t.Context(), o); err == nil {
		t.Error("it can tell without the machine's files")
	}
}
