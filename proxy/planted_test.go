package proxy_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shoal-project/shoal/pkg/config"
)

// The secrets that are planted: each where one of its kind comes from in life.
const (
	plantedPassword  = "pa55word-of-the-owner"
	plantedToken     = "t0ken-of-the-owner"
	plantedWrong     = "pa55word-that-is-wrong"
	plantedSignature = "s1gnature-of-an-address"
	plantedCookie    = "c00kie-of-a-client"
	plantedSession   = "sess10n-of-the-registry"
	plantedQuery     = "qu3ry-of-a-client"
)

// forms are the ways in which a secret could be written.
func forms(secret string) []string {
	coded := hex.EncodeToString([]byte(secret))
	middle := func(shift string) string { // of base64 in which the secret is somewhere
		text := base64.StdEncoding.EncodeToString([]byte(shift + secret))
		return text[4 : len(text)-4]
	}
	return []string{secret, url.QueryEscape(secret), coded, strings.ToUpper(coded), middle(""), middle("x"), middle("xx")}
}

// A warehouse is where an origin sends clients for its blobs, with an address that is as good as a
// password.
type warehouse struct {
	*httptest.Server
	origin *origin
	manner string // guarded by origin.mu
}

func (o *origin) warehouse(t *testing.T) *warehouse {
	t.Helper()
	w := &warehouse{origin: o}
	w.Server = httptest.NewServer(w)
	t.Cleanup(w.Close)
	return w
}

// send is a gate that lets in who shows one of the owner's secrets, and sends for blobs elsewhere.
func (h *warehouse) send(w http.ResponseWriter, r *http.Request) bool {
	w.Header().Set("Set-Cookie", "session="+plantedSession)
	_, password, basic := r.BasicAuth()
	if r.Header.Get("Authorization") != "Bearer "+plantedToken && (!basic || password != plantedPassword) {
		w.Header().Set("WWW-Authenticate", `Basic realm="door"`)
		refuse(w, http.StatusUnauthorized, "UNAUTHORIZED")
		return true
	}
	if !strings.Contains(r.URL.Path, "/blobs/") || r.Method == http.MethodHead {
		return false
	}
	at := url.URL{Path: r.URL.Path, RawQuery: url.Values{"X-Amz-Signature": {plantedSignature}}.Encode()}
	http.Redirect(w, r, h.URL+at.String(), http.StatusTemporaryRedirect)
	return true
}

func (h *warehouse) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.origin.mu.Lock()
	manner, found := h.manner, h.origin.held[r.URL.Path]
	h.origin.mu.Unlock()
	body := slices.Clone(found.body)
	switch manner {
	case "cut":
		w.Header().Set("Content-Length", fmt.Sprint(len(body)))
		_, _ = w.Write(body[:len(body)/2])
		panic(http.ErrAbortHandler)
	case "wrong":
		for i := range body {
			body[i] ^= 0xff
		}
	case "403", "500":
		w.WriteHeader(map[string]int{"403": 403, "500": 500}[manner])
		_, _ = w.Write([]byte("no: " + r.URL.String()))
		return
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// try asks the node, whatever comes of it, and returns the answer as text. It has less patience than
// the node has with a registry that fails.
func (n *node) try(path string, header http.Header) string {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+path, http.NoBody)
	if err != nil {
		n.t.Fatal(err)
	}
	r.Header = header
	res, err := n.client.Do(r)
	if err != nil {
		return "" // what is said here is the client's word
	}
	defer func() { _ = res.Body.Close() }()
	body, _ := io.ReadAll(res.Body) // it may be cut
	return fmt.Sprint(res.StatusCode, res.Header, string(body))
}

// Whatever happens, no secret of a client, of the registry or of the swarm gets into an answer, a log,
// a metric, the status, a profile, a dump of all goroutines or a file.
func TestPlantedSecretsNeverShow(t *testing.T) {
	o := newOrigin(t)
	house := o.warehouse(t)
	o.set(func() { o.gate = house.send })
	var secretFile string
	pair := runPair(t, o, func(c *config.Config) {
		secretFile = c.P2PSecretFiles[0]
		c.AuthGrant = time.Nanosecond
		c.Pprof = true
	})
	swarm, err := os.ReadFile(secretFile)
	if err != nil {
		t.Fatal(err)
	}
	var answers strings.Builder
	owner := "Basic " + base64.StdEncoding.EncodeToString([]byte("owner:"+plantedPassword))
	everything := func(n *node, img pushed, as ...string) {
		for _, authorization := range as {
			for _, path := range []string{"manifests/" + img.tag, "manifests/" + img.manifest.digest, "blobs/" + img.blobs[1].digest, "tags/list", "uploads/"} {
				answers.WriteString(n.try("/v2/"+img.repo+"/"+path+"?ns="+originName+"&token="+plantedQuery, http.Header{
					"Authorization": {authorization}, "Cookie": {"a=" + plantedCookie}, "Proxy-Authorization": {"Basic " + plantedCookie},
				}))
			}
		}
	}
	first := o.push(t, "team/app", "v", 90_000)
	for _, n := range pair {
		everything(n, first, owner, "Bearer "+plantedToken, "", "Bearer "+plantedToken+strings.Repeat("a", 40_000),
			"Basic "+base64.StdEncoding.EncodeToString([]byte("owner:"+plantedWrong)))
	}
	for _, manner := range []string{"cut", "wrong", "403", "500"} {
		o.set(func() { house.manner = manner })
		everything(pair[0], o.push(t, "team/app", "v"+manner, 90_000), owner)
	}
	last := o.push(t, "team/app", "last", 90_000)
	house.Close()
	everything(pair[0], last, owner)
	o.Close()
	for _, n := range pair { // the registry is gone, too
		everything(n, first, owner, "Bearer "+plantedToken, "")
		everything(n, last, owner)
	}

	haystack := map[string]string{"answers": answers.String()}
	for i, n := range pair {
		n.collect(haystack, fmt.Sprintf("node %d: ", i))
	}
	for where, has := range map[string][]string{
		"node 0: log":                           {"request was not served", "download given up", "403 Forbidden", "is unreachable", "tag is served as last known"},
		"node 0: debug/pprof/goroutine?debug=2": {"goroutine 1 "}, "node 0: metrics": {"shoal_"}, "node 1: layers": {first.blobs[1].digest}, "answers": {"the registry's own words"},
	} {
		for _, what := range has { // or there is nothing to find
			if !strings.Contains(haystack[where], what) {
				t.Errorf("%s lacks %q", where, what)
			}
		}
	}
	for where, text := range haystack {
		for _, secret := range []string{
			plantedPassword, plantedToken, plantedWrong, plantedSignature, plantedCookie, plantedSession, plantedQuery, strings.TrimSpace(string(swarm)),
		} {
			for _, form := range forms(secret) {
				if at := strings.Index(text, form); at >= 0 {
					t.Errorf("%s holds %q: ...%q...", where, secret, text[max(0, at-200):min(len(text), at+100)])
				}
			}
		}
	}
}

// collect adds everything that the node shows or keeps.
func (n *node) collect(into map[string]string, prefix string) {
	n.t.Helper()
	into[prefix+"log"] = n.log.String()
	for what, ask := range map[string]func() (any, error){
		"status": func() (any, error) { return n.admin.Status(n.t.Context()) },
		"peers":  func() (any, error) { return n.admin.Peers(n.t.Context()) },
		"layers": func() (any, error) { return n.admin.Layers(n.t.Context()) },
	} {
		said, err := ask()
		if err != nil {
			n.t.Fatal(err)
		}
		text, err := json.Marshal(said)
		if err != nil {
			n.t.Fatal(err)
		}
		into[prefix+what] = string(text)
	}
	metrics := node{t: n.t, client: n.client, url: "http://" + n.cfg.MetricsListen}
	for _, path := range []string{
		"/metrics", "/healthz", "/readyz", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1",
	} { // the stacks are what SIGQUIT prints and what the log gets of a daemon that hangs
		into[prefix+strings.TrimPrefix(path, "/")] = string(metrics.ask("GET", path).body)
	}
	err := filepath.WalkDir(n.cfg.DataDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		into[prefix+path] = string(content)
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
}
