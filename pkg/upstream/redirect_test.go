package upstream

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A redirected pair: a registry that sends every blob elsewhere, and that elsewhere.
type redirected struct {
	*Client
	asked, fetched atomic.Int64 // requests at the registry and at the other host
	answer         atomic.Int64 // status of the other host, 0 for the content
	generation     atomic.Int64 // part of the URL; the other host refuses older ones with 403
}

func newRedirected(t *testing.T, p []byte) *redirected {
	t.Helper()
	r := &redirected{}
	other := start(t, func(w http.ResponseWriter, req *http.Request) {
		r.fetched.Add(1)
		if len(req.Header["Authorization"]) > 0 || len(req.Header["Cookie"]) > 0 {
			t.Errorf("another host was sent %v", req.Header)
		}
		if code := int(r.answer.Load()); code != 0 {
			w.WriteHeader(code)
			return
		}
		if req.URL.Path != fmt.Sprint("/signed/", r.generation.Load()) {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		serveContent(w, req, p)
	})
	r.Client, _ = serve(t, func(w http.ResponseWriter, req *http.Request) {
		r.asked.Add(1)
		if req.Header.Get("Authorization") == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "1", Path: "/"})
		http.Redirect(w, req, fmt.Sprint(other.URL, "/signed/", r.generation.Load(), "?sig=abc"), http.StatusTemporaryRedirect)
	})
	return r
}

func (r *redirected) counts() [2]int64 { return [2]int64{r.asked.Load(), r.fetched.Load()} }

func TestRedirectIsReused(t *testing.T) {
	p, d := content(1000)
	r := newRedirected(t, p)
	src := bearer(t, "one")
	step := func(src Source, want [2]int64) {
		t.Helper()
		got, err := read(t.Context(), r.Client, src, d, 1000, 100, 200)
		if err != nil || !bytes.Equal(got, p[100:300]) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if r.counts() != want {
			t.Fatalf("requests %v, want %v", r.counts(), want)
		}
	}
	step(src, [2]int64{1, 1})
	step(src, [2]int64{1, 2})
	step(bearer(t, "two"), [2]int64{2, 3}) // its own permission
	step(src, [2]int64{2, 4})
	if got := r.Stats()[reg]; got.Redirects != 2 || got.Requests != 6 {
		t.Errorf("counted %+v", got)
	}
	if _, err := read(t.Context(), r.Client, anonymous(), d, 1000, 0, 5); !errors.Is(err, ErrUnauthorized) {
		t.Errorf("anonymous: %v", err)
	}
	r.generation.Add(1)       // the signed URL is no longer good
	step(src, [2]int64{4, 6}) // refused, asked anew and read; the anonymous read asked, too
	step(src, [2]int64{4, 7})
}

func TestStaleRedirectAsksTheRegistryOnce(t *testing.T) {
	for _, s := range []struct {
		status int
		asked  int64 // requests at the registry after one more read
		is     error
	}{
		{400, 2, nil},
		{401, 2, ErrUnauthorized},
		{403, 2, ErrUnauthorized},
		{404, 2, ErrNotFound},
		{410, 2, ErrNotFound},
		{429, 1, ErrThrottled},
		{500, 1, nil},
		{416, 1, nil},
	} {
		t.Run(fmt.Sprint(s.status), func(t *testing.T) {
			p, d := content(1000)
			r := newRedirected(t, p)
			src := bearer(t, "x")
			if _, err := read(t.Context(), r.Client, src, d, 1000, 0, 10); err != nil {
				t.Fatal(err)
			}
			r.answer.Store(int64(s.status))
			_, err := read(t.Context(), r.Client, src, d, 1000, 0, 10)
			if err == nil || s.is != nil && !errors.Is(err, s.is) {
				t.Fatal(err)
			}
			if r.asked.Load() != s.asked {
				t.Errorf("the registry was asked %d times, want %d", r.asked.Load(), s.asked)
			}
			if status, ok := errors.AsType[*StatusError](err); ok && (len(status.Challenges) > 0 || status.Host == reg) {
				t.Errorf("%+v", status)
			}
			r.answer.Store(0) // whatever it was, the place is forgotten
			if _, err := read(t.Context(), r.Client, src, d, 1000, 0, 10); err != nil || r.asked.Load() != s.asked+1 {
				t.Errorf("afterwards: %v, asked %d times", err, r.asked.Load())
			}
		})
	}
}

// A transport made of a function, for tests in virtual time.
type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestRedirectExpires(t *testing.T) {
	for _, s := range []struct {
		name  string
		query func(now time.Time) string
		life  time.Duration
	}{
		{"unsigned", func(time.Time) string { return "" }, time.Minute},
		{"Amazon", func(now time.Time) string {
			return "X-Amz-Date=" + now.UTC().Format("20060102T150405Z") + "&X-Amz-Expires=300"
		}, 290 * time.Second},
		{"Google", func(now time.Time) string {
			return "X-Goog-Date=" + now.UTC().Format("20060102T150405Z") + "&X-Goog-Expires=300"
		}, 290 * time.Second},
		{"CloudFront", func(now time.Time) string { return fmt.Sprint("Expires=", now.Add(5*time.Minute).Unix()) }, 290 * time.Second},
		{"Cloudflare", func(now time.Time) string { return fmt.Sprint("expires=", now.Add(5*time.Minute).Unix()) }, 290 * time.Second},
		{"Azure", func(now time.Time) string {
			return "se=" + url.QueryEscape(now.UTC().Add(5*time.Minute).Format(time.RFC3339))
		}, 290 * time.Second},
		{"a week", func(now time.Time) string { return fmt.Sprint("Expires=", now.Add(7*24*time.Hour).Unix()) }, time.Hour},
		{"past", func(now time.Time) string { return fmt.Sprint("Expires=", now.Add(-time.Second).Unix()) }, 0},
		{"malformed", func(time.Time) string { return "Expires=never&se=2020&X-Amz-Date=1&X-Amz-Expires=2" }, time.Minute},
	} {
		t.Run(s.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { redirectLives(t, s.query, s.life) })
		})
	}
}

func redirectLives(t *testing.T, query func(time.Time) string, life time.Duration) {
	t.Helper()
	p, d := content(1000)
	asked := 0
	c := newClient(t, Config{RoundTripper: transportFunc(func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		if r.URL.Host == reg {
			asked++
			http.Redirect(w, r, "https://cdn.example/x?"+query(time.Now()), http.StatusFound)
		} else {
			serveContent(w, r, p)
		}
		return w.Result(), nil
	})})
	once := func(want int) {
		t.Helper()
		if _, err := read(t.Context(), c, anonymous(), d, 1000, 0, 10); err != nil {
			t.Fatal(err)
		}
		if asked != want {
			t.Fatalf("the registry was asked %d times, want %d", asked, want)
		}
	}
	once(1)
	if life > 0 {
		time.Sleep(life - time.Second) // virtual
		once(1)
		time.Sleep(2 * time.Second)
	}
	once(2)
}

func TestRedirectLimit(t *testing.T) {
	_, d := content(1)
	for _, hops := range []int{maxRedirects, maxRedirects + 1} {
		left := hops
		c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if left == 0 {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			left--
			http.Redirect(w, r, fmt.Sprint("/again/", left), http.StatusSeeOther)
		})
		_, err := c.ReadBlob(t.Context(), anonymous(), d, 1, 0, 1)
		if want := hops <= maxRedirects; errors.Is(err, ErrNotFound) != want || errors.Is(err, ErrRedirect) == want {
			t.Errorf("%d redirects: %v", hops, err)
		}
	}
}

func TestRedirectsNotFollowed(t *testing.T) {
	_, d := content(1)
	pool := x509.NewCertPool()
	location := ""
	srv := startTLS(t, pool, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/team/app/blobs/"+d.String() {
			t.Errorf("followed to %s", r.URL)
		}
		if location != "" {
			w.Header().Set("Location", location)
		}
		w.WriteHeader(http.StatusFound)
	})
	plain := start(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("followed to %s without TLS", r.URL) })
	c := newClient(t, Config{Upstreams: map[string]string{reg: srv.URL}, RootCAs: pool})
	for _, location = range []string{
		"", plain.URL + "/x", "ftp://elsewhere.example/", "https://user:pass@elsewhere.example/", "https:///x", "https://", "//",
		"https:opaque", "javascript:1", "https://exa mple/", "https://[::1%25eth0]/", "https://a:99999/", "https://x/" + strings.Repeat("a", maxURL), "\x7f",
	} {
		if _, err := c.ReadBlob(t.Context(), anonymous(), d, 1, 0, 1); !errors.Is(err, ErrRedirect) || Temporary(err) {
			t.Errorf("%.80q: %v", location, err)
		}
	}
}

func TestCredentialStaysAtItsHost(t *testing.T) {
	parse := func(s string) *url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	for _, s := range []struct {
		from    string
		chain   []string
		trusted bool
	}{
		{"https://reg.example/v2/", []string{"/other"}, true},
		{"https://reg.example/v2/", []string{"https://REG.example:443/other"}, true},
		{"http://reg.example/v2/", []string{"https://reg.example/other"}, true},
		{"http://reg.example:80/v2/", []string{"http://reg.example/other"}, true},
		{"http://reg.example:5000/v2/", []string{"https://reg.example:5000/other"}, false},
		{"https://reg.example/v2/", []string{"https://reg.example:8443/other"}, false},
		{"https://reg.example/v2/", []string{"https://cdn.reg.example/other"}, false},
		{"https://reg.example/v2/", []string{"https://reg.example.evil.example/other"}, false},
		{"https://reg.example/v2/", []string{"//evil.example/other"}, false},
		{"https://reg.example/v2/", []string{"https://cdn.example/x", "https://reg.example/v2/"}, false},
		{"https://reg.example/v2/", []string{"https://cdn.example/x", "/y"}, false},
		{"https://[::1]:5000/v2/", []string{"https://[::1]:5000/x"}, true},
		{"https://[::1]:5000/v2/", []string{"https://[::2]:5000/x"}, false},
	} {
		at := hop{url: parse(s.from), trusted: true}
		for _, location := range s.chain {
			var err error
			if at, err = at.next([]string{location}); err != nil {
				t.Fatalf("%v: %v", s, err)
			}
		}
		if at.trusted != s.trusted {
			t.Errorf("%s %q: trusted %v", s.from, s.chain, at.trusted)
		}
	}
}

func TestRedirectAtTheSameHostKeepsTheCredential(t *testing.T) {
	p, d := content(100)
	asked := 0
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer x" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/v2/") {
			asked++
			http.Redirect(w, r, "/storage/x", http.StatusPermanentRedirect)
			return
		}
		serveContent(w, r, p)
	})
	for range 2 {
		if _, err := read(t.Context(), c, bearer(t, "x"), d, 100, 0, 10); err != nil || asked != 1 {
			t.Errorf("%v, asked %d times", err, asked)
		}
	}
}

func TestLocationsAreBounded(t *testing.T) {
	p, _ := content(10)
	c := newClient(t, Config{RoundTripper: transportFunc(func(r *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		if r.URL.Host == reg {
			http.Redirect(w, r, "https://cdn.example/x", http.StatusFound)
		} else {
			serveContent(w, r, p)
		}
		return w.Result(), nil
	})})
	for i := range maxLocations + 10 {
		d := blob.Digest{byte(i), byte(i >> 8)}
		if _, err := read(t.Context(), c, anonymous(), d, 10, 0, 5); err != nil {
			t.Fatal(err)
		}
	}
	if n := c.locations.Len(); n != maxLocations {
		t.Errorf("%d locations are remembered", n)
	}
}

func FuzzRedirect(f *testing.F) {
	for _, s := range []string{"/x", "//evil.example/", "https://reg.example/", "http://reg.example/", "https://a@reg.example", "?", "https://reg.example:443:443/", `https:\\evil`, "https://reg.example\t/"} {
		f.Add("https://reg.example/v2/x", s)
		f.Add("http://reg.example/v2/x", s)
	}
	f.Fuzz(func(t *testing.T, from, location string) {
		u, err := url.Parse(from)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || !ValidRegistry(u.Host) {
			return
		}
		at := hop{url: u, trusted: true}
		to, err := at.next([]string{location})
		if err != nil {
			return
		}
		req, err := http.NewRequest(http.MethodGet, to.url.String(), nil)
		if err != nil {
			return // refused a step later
		}
		if u.Scheme == "https" && req.URL.Scheme != "https" {
			t.Fatalf("%q downgrades to %q", location, req.URL)
		}
		if to.trusted && !strings.EqualFold(req.URL.Hostname(), u.Hostname()) {
			t.Fatalf("the credential for %q goes to %q", u.Host, req.URL.Host)
		}
		if !ValidRegistry(req.URL.Host) || req.URL.User != nil {
			t.Fatalf("%q leads to %q", location, req.URL)
		}
	})
}
