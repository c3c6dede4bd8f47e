package config_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/shoal-project/shoal/pkg/config"
)

func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*config.Config)
		key    string // empty: valid
		want   string
	}{
		{"anywhere allowed", func(c *config.Config) { c.Listen, c.ListenAnywhere = ":6050", true }, "", ""},
		{"anywhere by empty host", func(c *config.Config) { c.Listen = ":6050" }, "listen", "is not a loopback address"},
		{"IPv6 loopback", func(c *config.Config) { c.Listen = "[::1]:0" }, "", ""},
		{"mapped loopback", func(c *config.Config) { c.Listen = "[::ffff:127.0.0.1]:0" }, "", ""},
		{"localhost", func(c *config.Config) { c.Listen = "localhost:6050" }, "", ""},
		{"host name", func(c *config.Config) { c.Listen = "example.org:6050" }, "listen", "must be an IP address"},
		{"listen-name", func(c *config.Config) { c.ListenNames = []string{"mirror.example", "mirror"} }, "", ""},
		{"listen-name with port", func(c *config.Config) { c.ListenNames = []string{"mirror:1"} }, "listen-name", "is not a DNS name"},
		{"no certs-dir", func(c *config.Config) { c.CertsDir = "" }, "", ""},
		{"certs-dir", func(c *config.Config) { c.CertsDir = "a\x00b" }, "certs-dir", "not the path of a folder"},
		{"no port", func(c *config.Config) { c.Listen = "127.0.0.1" }, "listen", "is not HOST:PORT"},
		{"port", func(c *config.Config) { c.Listen = "127.0.0.1:65536" }, "listen", "number up to 65535"},
		{"metrics off", func(c *config.Config) { c.MetricsListen = "" }, "", ""},
		{"metrics", func(c *config.Config) { c.MetricsListen = "x" }, "metrics-listen", "is not HOST:PORT"},
		{"same address", func(c *config.Config) { c.MetricsListen = c.Listen }, "metrics-listen", "address of the proxy too"},
		{"both any port", func(c *config.Config) { c.Listen, c.MetricsListen = "127.0.0.1:0", "127.0.0.1:0" }, "", ""},
		{"quic", func(c *config.Config) { c.P2PListen = []string{"/ip4/0.0.0.0/udp/1/quic-v1"} }, "p2p-listen", "must be an IP address and a TCP port"},
		{"udp", func(c *config.Config) { c.P2PListen = []string{"/ip4/0.0.0.0/udp/1"} }, "p2p-listen", "must be an IP address and a TCP port"},
		{"p2p-listen", func(c *config.Config) { c.P2PListen = []string{"0.0.0.0:6051"} }, "p2p-listen", "is not a multiaddr"},
		{"IPv6 p2p", func(c *config.Config) { c.P2PListen = []string{"/ip6/::/tcp/6051"} }, "", ""},
		{"bootstraps", func(c *config.Config) {
			c.P2PBootstrap = []string{"shoal.kube-system.svc.cluster.local.:6051", "10.0.0.1:6051", "[fd00::1]:6051", "/dns4/a/tcp/6051", "/ip4/10.0.0.7/tcp/6051"}
		}, "", ""},
		{"bootstrap without port", func(c *config.Config) { c.P2PBootstrap = []string{"a.example"} }, "p2p-bootstrap", "neither HOST:PORT nor a multiaddr"},
		{"bootstrap port 0", func(c *config.Config) { c.P2PBootstrap = []string{"a.example:0"} }, "p2p-bootstrap", "from 1 to 65535"},
		{"bootstrap name", func(c *config.Config) { c.P2PBootstrap = []string{"a b:1"} }, "p2p-bootstrap", "neither an IP address nor a DNS name"},
		{"bootstrap label", func(c *config.Config) { c.P2PBootstrap = []string{"a..b:1"} }, "p2p-bootstrap", "neither an IP address nor a DNS name"},
		{"bootstrap multiaddr", func(c *config.Config) { c.P2PBootstrap = []string{"/x"} }, "p2p-bootstrap", "is not a multiaddr"},
		{"three secrets", func(c *config.Config) { c.P2PSecretFiles = []string{"a", "b", "c"} }, "p2p-secret-file", "at most two"},
		{"one secret twice", func(c *config.Config) { c.P2PSecretFiles = []string{"a", "a"} }, "p2p-secret-file", "given twice"},
		{"empty secret", func(c *config.Config) { c.P2PSecretFiles = []string{""} }, "p2p-secret-file", "not the path of a file"},
		{"zone", func(c *config.Config) { c.Zone = "eu west" }, "zone", "letters, digits"},
		{"upstream", func(c *config.Config) {
			c.Upstreams = map[string]string{"docker.io": "https://mirror.example/", "[fd00::1]:5000": "http://10.0.0.1", "localhost:5000": "http://localhost:5000"}
		}, "", ""},
		{"upstream scheme", func(c *config.Config) { c.Upstreams = map[string]string{"docker.io": "mirror.example"} }, "upstream", "must be like https"},
		{"upstream userinfo", func(c *config.Config) { c.Upstreams = map[string]string{"docker.io": "https://u:hunter2@m"} }, "upstream", "must not hold a user"},
		{"upstream query", func(c *config.Config) { c.Upstreams = map[string]string{"docker.io": "https://m/?a=b"} }, "upstream", "must end after the host"},
		{"upstream path", func(c *config.Config) { c.Upstreams = map[string]string{"docker.io": "https://m/path"} }, "upstream", "must end after the host"},
		{"upstream registry", func(c *config.Config) { c.Upstreams = map[string]string{"Docker.io/x": "https://m"} }, "upstream", "is not a registry"},
		{"upstream port", func(c *config.Config) { c.Upstreams = map[string]string{"a:99999": "https://m"} }, "upstream", "from 1 to 65535"},
		{"credentials", func(c *config.Config) {
			c.CredentialsFile, c.CredentialsRegistries = "/etc/shoal/docker.json", []string{"ghcr.io", "reg.example:5000"}
		}, "", ""},
		{"credentials for nobody", func(c *config.Config) { c.CredentialsFile = "a" }, "credentials-registry", "give both, or neither"},
		{"no credentials", func(c *config.Config) { c.CredentialsRegistries = []string{"ghcr.io"} }, "credentials-registry", "give both, or neither"},
		{"credentials for no registry", func(c *config.Config) {
			c.CredentialsFile, c.CredentialsRegistries = "a", []string{"Ghcr.io/team"}
		}, "credentials-registry", "is not a registry"},
		{"stale tags", func(c *config.Config) { c.StaleTags = "" }, "stale-tags", "members, local or off"},
		{"auth-stale", func(c *config.Config) { c.AuthStale = -1 }, "auth-stale", "must be from 0"},
		{"auth-grant", func(c *config.Config) { c.AuthGrant = time.Hour }, "auth-grant", "the registry decides"},
		{"data-dir", func(c *config.Config) { c.DataDir = "" }, "data-dir", "not the path of a folder"},
		{"admin-socket", func(c *config.Config) { c.AdminSocket = "/" + strings.Repeat("a", 107) }, "admin-socket", "108 bytes is longer than the 107"},
		{"no admin-socket", func(c *config.Config) { c.AdminSocket = "" }, "admin-socket", "not the path of a socket"},
		{"sizes", func(c *config.Config) { c.StoreMaxSize = -1 }, "store-max-size", "negative"},
		{"background", func(c *config.Config) { c.BackgroundMaxSize = 0 }, "background-max-size", "must be more than 0"},
		{"store-dedupe", func(c *config.Config) { c.StoreDedupe = "on" }, "store-dedupe", "auto or off"},
		{"containerd-root", func(c *config.Config) { c.ContainerdRoot = "" }, "containerd-root", "not the absolute path"},
		{"containerd-hosts-dir", func(c *config.Config) { c.ContainerdHostsDir = "certs.d" }, "containerd-hosts-dir", "not the absolute path"},
		{"containerd-rate", func(c *config.Config) { c.ContainerdRate = -1 }, "containerd-rate", "negative"},
		{"containerd-content", func(c *config.Config) { c.ContainerdContent = "content" }, "containerd-content", "not the absolute path"},
		{"containerd-socket", func(c *config.Config) { c.ContainerdSocket = "sock" }, "containerd-socket", "not the absolute path"},
		{"long containerd-socket", func(c *config.Config) { c.ContainerdSocket = "/" + strings.Repeat("a", 107) }, "containerd-socket", "108 bytes is longer than the 107"},
		{"no containerd-content", func(c *config.Config) { c.ContainerdContent, c.ContainerdSocket, c.ContainerdNamespace = "", "", "" }, "", ""},
		{"namespace", func(c *config.Config) { c.ContainerdNamespace = "a.b-c_D9" }, "", ""},
		{"no namespace", func(c *config.Config) { c.ContainerdNamespace = "" }, "containerd-namespace", "no namespace"},
		{"quoted namespace", func(c *config.Config) { c.ContainerdNamespace = `a"` }, "containerd-namespace", "no namespace"},
		{"namespace's end", func(c *config.Config) { c.ContainerdNamespace = "a." }, "containerd-namespace", "no namespace"},
		{"namespace's middle", func(c *config.Config) { c.ContainerdNamespace = "a.-b" }, "containerd-namespace", "no namespace"},
		{"log-format", func(c *config.Config) { c.LogFormat = "xml" }, "log-format", "text or json"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := config.Default()
			tc.change(&c)
			err := c.Validate()
			if tc.key == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			problem, ok := errors.AsType[*config.Error](err)
			if !ok {
				t.Fatalf("got %v, want a *config.Error", err)
			}
			if problem.Key != tc.key || !strings.Contains(problem.Reason, tc.want) {
				t.Errorf("got %v, want %s: ...%s...", err, tc.key, tc.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error repeats a password: %v", err)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	c := config.Default()
	c.P2PSecretFiles = []string{"/etc/shoal/secret"}
	if w := c.Warnings(); len(w) != 0 {
		t.Errorf("the defaults with a secret warn: %q", w)
	}
	c.Listen, c.ListenAnywhere, c.Pprof, c.MetricsListen, c.CertsClient = "10.0.0.1:6050", true, true, ":6052", true
	w := strings.Join(c.Warnings(), "\n")
	if !strings.Contains(w, "listen 10.0.0.1:6050 can be reached") || !strings.Contains(w, "pprof is served on :6052") || !strings.Contains(w, "certs-client is on") {
		t.Errorf("got %q", w)
	}
}
