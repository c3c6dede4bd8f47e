package upstream

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestParseUpstream(t *testing.T) {
	for s, want := range map[string]string{
		"docker.io=https://registry-1.docker.io": "docker.io https://registry-1.docker.io",
		"Reg:5000=http://10.0.0.1:5000/":         "reg:5000 http://10.0.0.1:5000",
		"[::1]:5000=HTTP://[::1]:5000":           "[::1]:5000 http://[::1]:5000",
		"":                                       "", "docker.io": "", "=https://a": "", "a/b=https://a": "", "a=": "", "a=b": "", "a=ftp://b": "", "a=https://": "", "a=https:b": "",
		"a=https://b/path": "", "a=https://b?q": "", "a=https://b?": "", "a=https://b#f": "", "a=https://b_c": "", "a=https://b:0": "",
		"a=https://user:PLANTED@b": "", "a=https://user:PLANTED@b/%zz": "", "a=//b": "", "a=https://b c": "",
	} {
		registry, base, err := ParseUpstream(s)
		if got := strings.TrimSpace(registry + " " + base); got != want || errors.Is(err, ErrConfig) != (want == "") {
			t.Errorf("ParseUpstream(%q) = %q, %v", s, got, err)
		}
		if err != nil && (strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "PLANTED")) {
			t.Errorf("ParseUpstream(%q): %v", s, err)
		}
	}
}

func TestConfig(t *testing.T) {
	good := Config{Upstreams: map[string]string{"b.example": "http://b.example:80", "a.example": "http://10.0.0.1", "c.example": "https://c.example"}}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	warnings := good.Warnings()
	if len(warnings) != 2 || !strings.Contains(warnings[0], "a.example") || !strings.Contains(warnings[1], "b.example") {
		t.Errorf("warnings %q", warnings)
	}
	for name, bad := range map[string]Config{
		"registry":   {Upstreams: map[string]string{"a/b": "https://a"}},
		"base":       {Upstreams: map[string]string{"a": "a"}},
		"twice":      {Upstreams: map[string]string{"a.b": "https://a", "A.b": "https://b"}},
		"timeout":    {StallTimeout: -1},
		"user agent": {UserAgent: "a\nb"},
	} {
		if err := bad.Validate(); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := New(bad); !errors.Is(err, ErrConfig) {
			t.Errorf("New, %s: %v", name, err)
		}
	}
}

func TestDefaults(t *testing.T) {
	c := newClient(t, Config{})
	if c.cfg.DialTimeout != 5*time.Second || c.cfg.TLSTimeout != 10*time.Second || c.cfg.HeaderTimeout != 30*time.Second || c.cfg.StallTimeout != 30*time.Second {
		t.Errorf("%+v", c.cfg)
	}
	for registry, want := range map[string]string{"docker.io": "https://registry-1.docker.io", "Docker.IO": "https://registry-1.docker.io", "ghcr.io": "https://ghcr.io", "[::1]:5000": "https://[::1]:5000"} {
		if base, configured := c.base(registry); base.String() != want || configured {
			t.Errorf("%s is reached at %s", registry, base)
		}
	}
	tr, ok := c.trusts.shared.(*http.Transport)
	if !ok || !tr.DisableCompression || !tr.ForceAttemptHTTP2 || tr.Proxy == nil || tr.ResponseHeaderTimeout != 30*time.Second || tr.TLSClientConfig.InsecureSkipVerify {
		t.Errorf("transport %+v", tr)
	}
}

func TestHTTP2(t *testing.T) {
	p, d := content(100_000)
	pool := x509.NewCertPool()
	srv := startTLS(t, pool, func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("spoken: %s", r.Proto)
		}
		serveContent(w, r, p)
	})
	c := newClient(t, Config{RootCAs: pool, Upstreams: map[string]string{reg: srv.URL}})
	if got, err := read(t.Context(), c, anonymous(), d, 100_000, 5, 90_000); err != nil || string(got) != string(p[5:90_005]) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestCountersAreBounded(t *testing.T) {
	c := newClient(t, Config{})
	for i := range maxCounted + 50 {
		c.stats.asked(fmt.Sprint("reg", i))
	}
	all := c.Stats()
	if len(all) != maxCounted+1 || all[OtherRegistries].Requests != 50 || all["reg0"].Requests != 1 {
		t.Errorf("%d names, others %+v", len(all), all[OtherRegistries])
	}
}

func FuzzParseUpstream(f *testing.F) {
	for _, s := range []string{"docker.io=https://registry-1.docker.io", "a=http://b:1/", "a=https://u:p@b", "a=https://[::1]:5000", "=", "a==b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		registry, base, err := ParseUpstream(s)
		if err != nil {
			if !errors.Is(err, ErrConfig) || strings.ContainsAny(err.Error(), "\r\n") || len(err.Error()) > 600 {
				t.Fatalf("error %q", err)
			}
			return
		}
		again, same, err := ParseUpstream(registry + "=" + base)
		if err != nil || again != registry || same != base {
			t.Fatalf("%q: %q %q, then %q %q %v", s, registry, base, again, same, err)
		}
		if err := (Config{Upstreams: map[string]string{registry: base}}).Validate(); err != nil {
			t.Fatal(err)
		}
	})
}
