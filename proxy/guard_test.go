package proxy

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestPing(t *testing.T) {
	k := newKit(t, nil)
	for _, path := range []string{"/v2/", "/v2", "/v2/?ns=docker.io"} {
		a := k.do("GET", path).want(t, 200)
		if a.header.Get("Docker-Distribution-API-Version") != "registry/2.0" {
			t.Errorf("%s: %v", path, a.header)
		}
		k.do("HEAD", path).want(t, 200)
	}
	if got := k.registry.asked(""); len(got) != 0 {
		t.Errorf("a ping asked upstream %v", got)
	}
}

// What no client of a registry sends is refused, each with one clear sentence.
func TestGuard(t *testing.T) {
	k := newKit(t, func(c *Config, _ *Deps) {
		c.Listen, c.Hosts, c.MaxURL = "10.1.2.3:5050", []string{"Mirror.Local"}, 512
	})
	serve := func(change func(*http.Request)) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", "/v2/", nil)
		r.Host = "127.0.0.1:5050"
		change(r)
		w := httptest.NewRecorder()
		k.proxy.ServeHTTP(w, r)
		return w
	}
	for host, want := range map[string]int{
		"127.0.0.1": 200, "127.8.8.8:1": 200, "localhost:5050": 200, "LOCALHOST.": 200, "[::1]:5050": 200, "[::ffff:127.0.0.1]:1": 200,
		"10.1.2.3:5050": 200, "mirror.local:80": 200,
		"evil.example": 403, "10.1.2.4": 403, "": 403, "127.0.0.1.evil.example": 403, "localhost.evil.example:5050": 403,
	} {
		if w := serve(func(r *http.Request) { r.Host = host }); w.Code != want {
			t.Errorf("Host %q: %d, want %d", host, w.Code, want)
		}
	}
	k.proxy.hosts = newHostList("0.0.0.0:5050", nil) // every address, and still no name
	for host, want := range map[string]int{
		"10.1.2.4:5050": 200, "[2001:db8::7]:5050": 200, "127.0.0.1": 200, "evil.example:5050": 403, "0.0.0.0.evil.example": 403, "": 403,
	} {
		if w := serve(func(r *http.Request) { r.Host = host }); w.Code != want {
			t.Errorf("on every address, Host %q: %d, want %d", host, w.Code, want)
		}
	}
	k.proxy.hosts = newHostList("10.1.2.3:5050", nil)
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"} {
		w := serve(func(r *http.Request) { r.Method = method })
		if w.Code != 405 || !strings.Contains(w.Body.String(), `"UNSUPPORTED"`) {
			t.Errorf("%s: %d %s", method, w.Code, w.Body)
		}
	}
	for what, c := range map[string]struct {
		change func(*http.Request)
		want   int
	}{
		"long": {func(r *http.Request) { r.RequestURI = "/v2/" + strings.Repeat("a", 600) }, 414},
		"body": {func(r *http.Request) { r.ContentLength = 3 }, 400},
		"two credentials": {func(r *http.Request) {
			r.URL.Path = "/v2/a/b/manifests/c"
			r.Header["Authorization"] = []string{"a", "b"}
		}, 400},
		"control characters": {func(r *http.Request) {
			r.URL.Path = "/v2/a/b/manifests/c"
			r.Header["Authorization"] = []string{"a\x01"}
		}, 400},
		"itself":     {func(r *http.Request) { r.URL.Path = "/v2/10.1.2.3:5050/b/manifests/c" }, 404},
		"localhost":  {func(r *http.Request) { r.URL.Path, r.URL.RawQuery = "/v2/b/manifests/c", "ns=localhost:5050" }, 404},
		"many types": {func(r *http.Request) { r.URL.Path, r.Header["Accept"] = "/v2/a/b/manifests/c", make([]string, 100) }, 400},
	} {
		w := serve(c.change)
		var body struct {
			Errors []struct{ Code, Message string }
		}
		err := json.Unmarshal(w.Body.Bytes(), &body)
		if w.Code != c.want || err != nil || len(body.Errors) != 1 || !strings.HasSuffix(body.Errors[0].Message, ".") {
			t.Errorf("%s: %d %s, want %d", what, w.Code, w.Body, c.want)
		}
	}
	if got := k.registry.asked(""); len(got) != 0 {
		t.Errorf("refused requests reached upstream: %v", got)
	}
}

// A web page in a browser on this node gets nothing and starts nothing; an address that somebody
// typed gets data, never a page of this server's own.
func TestWebPages(t *testing.T) {
	k := newKit(t, nil)
	page := []byte("<script>steal()</script>")
	k.registry.answer(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", "text/html")
		if strings.Contains(r.URL.Path, "gone") {
			w.WriteHeader(http.StatusNotFound)
		}
		_, _ = w.Write(page)
		return true
	})
	for _, header := range [][]string{
		{"Origin", "https://evil.example"},
		{"Origin", "null"},
		{"Origin", ""},
		{"Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"},
		{"Sec-Fetch-Site", "same-site"},
		{"Sec-Fetch-Site", "same-origin"},
	} {
		k.manifest("GET", "v1", header...).want(t, 403)
		k.do("GET", "/v2/", header...).want(t, 403)
	}
	if got := k.registry.asked(""); len(got) != 0 {
		t.Errorf("a page had upstream asked %v", got)
	}
	for path, want := range map[string]int{"/manifests/v1": 200, "/manifests/gone": 404, "/tags/list": 200, "/blobs/sha512:" + strings.Repeat("ab", 64): 200} {
		a := k.do("GET", "/v2/"+testRepo+path, "Sec-Fetch-Site", "none").want(t, want)
		if !strings.HasPrefix(a.header.Get("Content-Security-Policy"), "sandbox;") || a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, a.header)
		}
	}
}

func TestHeadersAreBounded(t *testing.T) {
	k := newKit(t, func(c *Config, _ *Deps) { c.MaxHeader = 8 << 10 })
	a := k.do("GET", "/v2/", "X-Long", strings.Repeat("a", 32<<10))
	if a.err == nil && a.code != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("long headers: %d", a.code)
	}
}

func TestConfigValidate(t *testing.T) {
	for _, c := range []Config{
		{StaleTags: "maybe"}, {DefaultRegistry: "a/b"}, {GrantTTL: -1}, {HeaderWait: -1}, {MaxURL: -1}, {LazyMax: -1},
	} {
		if err := c.Validate(); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := (Config{AuthStale: -1, StalePublic: -1}).Validate(); err != nil {
		t.Error(err)
	}
	if _, err := New(Config{}, Deps{}); !errors.Is(err, ErrConfig) {
		t.Errorf("no parts: %v", err)
	}
}
