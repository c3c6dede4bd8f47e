package proxy

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/shoal-project/shoal/pkg/upstream"
)

// A repository behind bearer tokens that anybody can have is public: found out while upstream
// is there, and worth a pull when it is not.
func TestPublicBehindTokens(t *testing.T) {
	for what, c := range map[string]struct {
		realm  string // after the token server's URL
		token  string // what it gives to a stranger
		status int
		public bool
		asked  bool
	}{
		"public":       {"/token", `{"token":"stranger"}`, 200, true, true},
		"access token": {"/token?a=b", `{"expires_in":1,"access_token":"stranger"}`, 200, true, true},
		"private":      {"/token", `{"token":"worthless"}`, 200, false, true},
		"no token":     {"/token", `{}`, 200, false, true},
		"no strangers": {"/token", `{"token":"stranger"}`, 401, false, true},
		"other case":   {"/token", `{"Token":"stranger"}`, 200, false, true},
		"redirect":     {"/token", `{"token":"stranger"}`, 307, false, true},
		"plain http":   {"http://", `{"token":"stranger"}`, 200, false, false},
		"no JSON":      {"/token", `stranger`, 200, false, true},
		"control":      {"/token", `{"token":"a\nb"}`, 200, false, true},
	} {
		t.Run(what, func(t *testing.T) {
			asked := make(chan *http.Request, 16)
			tokens := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked <- r
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte(c.token))
			}))
			t.Cleanup(tokens.Close)
			k := newKit(t, func(_ *Config, d *Deps) { d.Tokens = tokens.Client().Transport })
			img := k.registry.push(testRepo, "v1", pattern(1, 5000))
			realm := tokens.URL + c.realm
			if strings.HasPrefix(c.realm, "http://") {
				realm = strings.Replace(tokens.URL, "https", "http", 1)
			}
			strangers := make(chan struct{}, 16)
			k.registry.answer(func(w http.ResponseWriter, r *http.Request) bool {
				switch r.Header.Get("Authorization") {
				case "Bearer mine", "Bearer stranger":
					return false
				case "":
					strangers <- struct{}{}
				}
				w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q,service="reg",scope="repository:team/app:pull"`, realm))
				w.WriteHeader(http.StatusUnauthorized)
				return true
			})
			k.run()
			for range 3 {
				k.manifest("GET", "v1", "Authorization", "Bearer mine").want(t, 200)
			}
			<-strangers
			if c.asked {
				r := <-asked
				if r.Header.Get("Authorization") != "" || r.FormValue("scope") != "repository:team/app:pull" || r.FormValue("service") != "reg" {
					t.Errorf("the token server was asked %v with %v", r.URL, r.Header)
				}
			}
			if c.public {
				k.eventually(func() bool {
					got, _ := k.proxy.Lookup(repository, upstream.DigestReference(img.digest))
					return got.Public
				})
			}
			k.stop()
			if n := len(asked) + len(strangers); n != 0 {
				t.Errorf("asked %d times more", n)
			}
			k.manifest("HEAD", "v1").want(t, 401) // every pull begins so, and it proves nothing
			k.registry.status(503)
			want := 503
			if c.public {
				want = 200
			}
			k.manifest("GET", "v1").want(t, want)
		})
	}
}

// Nobody is asked for a repository that opened to a password, or when that is switched off.
func TestProbesAreRare(t *testing.T) {
	for _, c := range []struct {
		authorization string
		every         int
	}{{"Basic x", 0}, {"", 0}, {"Bearer x", -1}} {
		k := newKit(t, func(config *Config, d *Deps) {
			d.Tokens = http.DefaultTransport
			if c.every < 0 {
				config.PublicProbe = -1
			}
		})
		k.registry.push(testRepo, "v1", pattern(1, 50))
		var header []string
		if c.authorization != "" {
			header = []string{"Authorization", c.authorization}
		}
		k.manifest("HEAD", "v1", header...).want(t, 200)
		if len(k.proxy.probes) != 0 {
			t.Errorf("%+v: a probe", c)
		}
	}
	k := newKit(t, func(_ *Config, d *Deps) { d.Tokens = http.DefaultTransport })
	for i := range 2 * maxProbes { // nobody takes them, and nothing blocks
		repo := fmt.Sprintf("r%d/app", i)
		k.registry.push(repo, "v1", pattern(1, 50))
		k.do("HEAD", "/v2/"+repo+"/manifests/v1", "Authorization", "Bearer x").want(t, 200)
	}
}

// run starts the proxy's background work; stop ends it and waits.
func (k *kit) run() {
	ctx, cancel := context.WithCancel(k.t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := k.proxy.Run(ctx); err != nil {
			k.t.Error(err)
		}
	})
	k.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
	k.t.Cleanup(k.stop)
}
