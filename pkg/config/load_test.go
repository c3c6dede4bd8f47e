package config_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/config"
	"github.com/shoal-project/shoal/pkg/containerd/configtoml"
)

func TestDefaultIsValidAndDocumented(t *testing.T) {
	c := config.Default()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	loaded, err := config.Load(config.Sources{})
	if err != nil {
		t.Fatal(err)
	}
	if loaded.Listen != "127.0.0.1:6050" || loaded.DataDir != "/var/lib/shoal" || loaded.AdminSocket != "/run/shoal/shoal.sock" ||
		len(loaded.P2PListen) != 1 || loaded.P2PListen[0] != "/ip4/0.0.0.0/tcp/6051" || loaded.MetricsListen != "127.0.0.1:6052" {
		t.Errorf("addresses: %+v", loaded)
	}
	if loaded.AuthStale != 12*time.Hour || loaded.AuthGrant != time.Minute || loaded.StaleTags != config.StaleMembers {
		t.Errorf("authorisation: %+v", loaded)
	}
	if loaded.StoreMaxSize != 0 || loaded.BackgroundMaxSize != 16*blob.GiB || loaded.LogLevel != slog.LevelInfo || loaded.LogFormat != config.LogText {
		t.Errorf("sizes and logs: %+v", loaded)
	}
	for _, s := range config.Settings() {
		if s.Usage == "" || (s.Kind != config.Switch && s.Placeholder == "") {
			t.Errorf("%s is not documented", s.Key)
		}
	}
}

func TestPrecedence(t *testing.T) {
	src := config.Sources{
		FileName: "shoal.yaml",
		File: []byte(`# all three say where to listen
listen: 127.0.0.1:1
data-dir: /from/file
zone: file
containerd-version: 2.0
p2p-bootstrap:
  - one.example:6051
  - two.example:6051
`),
		Environment: map[string]string{
			"PATH": "/bin", "SHOAL_LISTEN": "127.0.0.1:2", "SHOAL_ZONE": "environment",
			"SHOAL_P2P_BOOTSTRAP": " three.example:6051 ,, four.example:6051,", "SHOAL_METRICS_LISTEN": "",
			// A Service named shoal puts these into every container of its namespace.
			"SHOAL_SERVICE_HOST": "10.0.0.1", "SHOAL_PORT": "tcp://10.0.0.1:6051", "SHOAL_P2P_SERVICE_PORT_TCP": "6051",
			"SHOAL_PORT_6051_TCP_ADDR": "10.0.0.1", "SHOAL_P2P_PORT_6051_TCP": "tcp://10.0.0.1:6051",
		},
		Flags: map[string][]string{"listen": {"127.0.0.1:3"}, "pprof": {"true"}, "store-max-size": {"1.5 GiB"}, "upstream": {"docker.io=https://a", "quay.io=http://b:5000"}},
	}
	c, err := config.Load(src)
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "127.0.0.1:3" || c.Zone != "environment" || c.DataDir != "/from/file" || c.MetricsListen != "" || !c.Pprof {
		t.Errorf("%+v", c)
	}
	if got := strings.Join(c.P2PBootstrap, " "); got != "three.example:6051 four.example:6051" {
		t.Errorf("a list is taken whole from the strongest source, got %q", got)
	}
	if c.StoreMaxSize != 3*blob.GiB/2 {
		t.Errorf("size %d", c.StoreMaxSize)
	}
	if c.ContainerdRelease != configtoml.TwoZero {
		t.Errorf("containerd %v", c.ContainerdRelease)
	}
	if c.Upstreams["docker.io"] != "https://a" || c.Upstreams["quay.io"] != "http://b:5000" {
		t.Errorf("upstreams %v", c.Upstreams)
	}
	warnings := strings.Join(c.Warnings(), "\n")
	for _, want := range []string{"runs alone", "served nowhere"} {
		if !strings.Contains(warnings, want) {
			t.Errorf("no warning %q in\n%s", want, warnings)
		}
	}
}

func TestLoadErrorsNameThePlace(t *testing.T) {
	long := strings.Repeat("a", 4097)
	for _, tc := range []struct {
		name string
		src  config.Sources
		want string
	}{
		{"unknown key", file("\nlisten: 127.0.0.1:1\ndata-dri: x\n"), "shoal.yaml:3: data-dri: unknown key; did you mean data-dir?"},
		{"underscores", file("data_dir: x\n"), "shoal.yaml:1: data_dir: unknown key; did you mean data-dir?"},
		{"far key", file("whatever: x\n"), "shoal.yaml:1: whatever: unknown key"},
		{"twice", file("zone: a\nlog-level: info\nzone: b\n"), "shoal.yaml:3: zone: the key is already in line 1"},
		{"null", file("zone:\n"), "shoal.yaml:1: zone: has no value; leave the line out for the default, or write \"\" for none"},
		{"list for one", file("zone: [a]\n"), "shoal.yaml:1: zone: takes a single value"},
		{"one for list", file("p2p-bootstrap: a:1\n"), "shoal.yaml:1: p2p-bootstrap: takes a list, one \"- VALUE\" a line"},
		{"nested list", file("p2p-bootstrap:\n - a:1\n - [b]\n"), "shoal.yaml:1: p2p-bootstrap: value in line 3: takes a single value"},
		{"alias", file("zone: &z a\nlisten: *z\n"), "shoal.yaml:2: listen: YAML aliases are not supported; write the value out"},
		{"tag", file("zone: !!binary YQ==\n"), "shoal.yaml:1: zone: YAML tags are not supported; write plain text"},
		{"not a mapping", file("- listen\n"), "shoal.yaml:1: the file must be a mapping, one KEY: VALUE a line"},
		{"mapping as key", file("{a: b}: c\n"), "shoal.yaml:1: a key must be the name of a setting"},
		{"two documents", file("zone: a\n---\nzone: b\n"), "shoal.yaml:2: there must be only one document in the file"},
		{"syntax", file("zone: a\nlisten: 'x\n"), "shoal.yaml:2: not YAML: found unexpected end of stream"},
		{"too big", file(strings.Repeat("#", config.FileMax+1)), "shoal.yaml: the file has more than the 262144 bytes that are allowed"},
		{"bool", file("pprof: maybe\n"), "shoal.yaml:1: pprof: \"maybe\" is neither true nor false"},
		{"invalid in file", file("a-comment: 1\nlisten: x\n"), "shoal.yaml:1: a-comment: unknown key"},
		{"validated", file("# one\nlisten: 0.0.0.0:6050\n"), "shoal.yaml:2: listen: 0.0.0.0:6050 is not a loopback address, and whoever reaches it can pull as this node's users; use 127.0.0.1, or set listen-anywhere to accept that"},
		{"unknown variable", config.Sources{Environment: map[string]string{"SHOAL_LISTN": "x"}}, "environment: SHOAL_LISTN: unknown variable; did you mean SHOAL_LISTEN?"},
		{"bad variable", config.Sources{Environment: map[string]string{"SHOAL_AUTH_STALE": "soon"}}, "environment: SHOAL_AUTH_STALE: \"soon\" is not a duration like 90s, 15m or 12h"},
		{"validated variable", config.Sources{Environment: map[string]string{"SHOAL_P2P_LISTEN": ""}}, "environment: SHOAL_P2P_LISTEN: at least one address is needed, like /ip4/0.0.0.0/tcp/6051"},
		{"unknown flag", flag("nope", "x"), "--nope: there is no such setting"},
		{"two values", flag("zone", "a", "b"), "--zone: takes one value, not 2"},
		{"long value", flag("zone", long), "--zone: a value of 4097 bytes is longer than the 4096 that are allowed"},
		{"long list", flag("p2p-bootstrap", make([]string, 257)...), "--p2p-bootstrap: 257 values are more than the 256 that are allowed"},
		{"size", flag("store-max-size", "big"), "--store-max-size: \"big\" is not a size like 500MB, 16GiB or a number of bytes"},
		{"negative size", flag("store-max-size", "-1"), "--store-max-size: \"-1\" is not a size like 500MB, 16GiB or a number of bytes"},
		{"huge size", flag("store-max-size", "15EiB"), "--store-max-size: \"15EiB\" is more than any disk holds"},
		{"upstream form", flag("upstream", "docker.io"), "--upstream: must be of the form REGISTRY=URL, like docker.io=https://mirror.example"},
		{"upstream twice", flag("upstream", "a.io=https://b", "a.io=https://c"), "--upstream: the registry \"a.io\" is given twice"},
		{"version", flag("containerd-version", "two"), "--containerd-version: \"two\" is not a version of containerd, like 1.7.27"},
		{"level", flag("log-level", "loud"), "--log-level: must be debug, info, warn or error"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := config.Load(tc.src)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got  %v\nwant %s", err, tc.want)
			}
		})
	}
}

func TestLoadReportsEverythingWrong(t *testing.T) {
	_, err := config.Load(config.Sources{
		FileName: "f", File: []byte("nope: 1\nneither: 2\n"), Environment: map[string]string{"SHOAL_X": ""},
	})
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("want three lines, got %v", err)
	}
	_, err = config.Load(flag("stale-tags", "x"))
	if err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("want one line, got %v", err)
	}
}

func file(content string) config.Sources {
	return config.Sources{FileName: "shoal.yaml", File: []byte(content)}
}

func flag(key string, values ...string) config.Sources {
	return config.Sources{Flags: map[string][]string{key: values}}
}
