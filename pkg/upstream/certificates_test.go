package upstream

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A authority is a CA of a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key, a.pem, _ = a.sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, Subject: pkix.Name{CommonName: "test"}})
	return a
}

// sign makes a certificate with a key of its own, by this authority or, for the first, by itself.
func (a *authority) sign(template *x509.Certificate) (_ *x509.Certificate, _ *ecdsa.PrivateKey, cert, key []byte) {
	a.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, k
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &k.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		a.t.Fatal(err)
	}
	return parsed, k, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// client returns a client certificate and its key.
func (a *authority) client() (cert, key []byte) {
	_, _, cert, key = a.sign(&x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return cert, key
}

// serve starts an HTTPS server that this authority vouches for.
func (a *authority) serve(auth tls.ClientAuthType, h http.HandlerFunc) *httptest.Server {
	a.t.Helper()
	_, _, cert, key := a.sign(&x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}})
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		a.t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AddCert(a.cert)
	srv := unstarted(a.t, h)
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: auth, ClientCAs: clients}
	srv.StartTLS()
	return srv
}

// folder makes a folder of a registry below a new certs.d. A content of "" makes a folder.
func folder(t *testing.T, files map[string]string) (certsDir string) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A told keeps what OnCertificates was told.
type told struct{ errs []error }

func (o *told) hear(_ string, err error) { o.errs = append(o.errs, err) }

func (o *told) String() string {
	if err := errors.Join(o.errs...); err != nil {
		return err.Error()
	}
	return ""
}

// ping asks the registry for a manifest and returns the status, 0 for none.
func ping(t *testing.T, c *Client, registry string) (int, error) {
	t.Helper()
	answer, err := forward(t, c, Request{
		Method: "GET", Endpoint: EndpointManifest, Repository: Repository{Registry: registry, Name: "a"}, Reference: reference(t, "v1"),
	})
	if err != nil {
		return 0, err
	}
	return answer.code, nil
}

// CAs are found where containerd and Docker look for them, for that registry and for no other.
func TestCertsDirCAs(t *testing.T) {
	ca := newAuthority(t)
	srv := ca.serve(tls.NoClientCert, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	pem := string(ca.pem)
	outside := folder(t, map[string]string{"ca.pem": pem})
	const registry = "reg.example:5000"
	for name, files := range map[string]map[string]string{
		"Docker":           {registry + "/ca.crt": pem},
		"any .crt":         {registry + "/corp.crt": pem, registry + "/other.pem": "no matter"},
		"port":             {"reg.example_5000_/ca.crt": pem, registry + "/ca.crt": "not looked at"},
		"default":          {"_default/ca.crt": pem},
		"server":           {registry + "/hosts.toml": `server = "` + srv.URL + "\"\nca = \"ca.pem\"", registry + "/ca.pem": pem},
		"server, no https": {registry + "/hosts.toml": `server = "` + strings.TrimPrefix(srv.URL, "https://") + "\"\nca = \"ca.pem\"", registry + "/ca.pem": pem},
		"no server":        {registry + "/hosts.toml": `ca = ["ca.pem"]`, registry + "/ca.pem": pem},
		"absolute":         {registry + "/hosts.toml": `ca = "` + outside + `/ca.pem"`},
		"host": {registry + "/ca.pem": pem, registry + "/hosts.toml": "server = \"https://reg.example:5000\"\n" +
			"[host.\"http://127.0.0.1:6050\"]\n  capabilities = [\"pull\", \"resolve\"]\n  dial_timeout = \"200ms\"\n[host.\"" + srv.URL + "/v2\"]\n  ca = \"ca.pem\"\n"},
		"Docker beside hosts.toml": {registry + "/ca.crt": pem, registry + "/hosts.toml": "[host.\"http://127.0.0.1:6050\"]\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var o told
			c := newClient(t, Config{
				CertsDir: folder(t, files), OnCertificates: o.hear,
				Upstreams: map[string]string{registry: srv.URL, "other.example": srv.URL},
			})
			if code, err := ping(t, c, registry); code != 200 || len(o.errs) > 0 {
				t.Errorf("%d, %v, told %v", code, err, &o)
			}
			if _, err := ping(t, c, "other.example"); (err == nil) != (name == "default") {
				t.Errorf("another registry: %v", err)
			}
			if c.ShowsCertificate(registry) {
				t.Error("a CA is taken for a certificate of the node's own")
			}
		})
	}
}

// What cannot be followed is told once, and trusts nobody.
func TestCertsDirNotFollowed(t *testing.T) {
	ca := newAuthority(t)
	srv := ca.serve(tls.NoClientCert, func(http.ResponseWriter, *http.Request) {})
	cert, key := ca.client()
	for name, s := range map[string]struct {
		files map[string]string
		says  string
	}{
		"skip_verify":     {map[string]string{"reg.example/hosts.toml": "skip_verify = true"}, "skip_verify"},
		"host's":          {map[string]string{"reg.example/hosts.toml": "[host.\"" + srv.URL + "\"]\nskip_verify = true"}, "skip_verify"},
		"no PEM":          {map[string]string{"reg.example/ca.crt": "hello"}, "PEM"},
		"no file":         {map[string]string{"reg.example/hosts.toml": `ca = "gone.pem"`}, "no such file"},
		"no TOML":         {map[string]string{"reg.example/hosts.toml": `ca = `}, "not understood"},
		"number":          {map[string]string{"reg.example/hosts.toml": `ca = 7`}, "ca in hosts.toml"},
		"client":          {map[string]string{"reg.example/hosts.toml": `client = true`}, "client in hosts.toml"},
		"triple":          {map[string]string{"reg.example/hosts.toml": `client = [["a", "b", "c"]]`}, "client in hosts.toml"},
		"long hosts.toml": {map[string]string{"reg.example/hosts.toml": strings.Repeat("#", maxHostsFile+1)}, "more than"},
		"long CA":         {map[string]string{"reg.example/ca.crt": strings.Repeat("#", maxPEM+1)}, "more than"},
		"folder":          {map[string]string{"reg.example/ca.crt/x": ""}, "not a file"},
		"many":            {manyFiles(), "at most"},
		"no pair":         {map[string]string{"reg.example/a.cert": string(cert), "reg.example/a.key": string(cert)}, "not a pair"},
		"no key":          {map[string]string{"reg.example/a.cert": string(cert)}, "not a pair"},
		"no key file":     {map[string]string{"reg.example/a.crt": string(ca.pem), "reg.example/hosts.toml": `client = [["a", "b"]]`}, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			var o told
			c := newClient(t, Config{
				CertsDir: folder(t, s.files), ClientCerts: true, OnCertificates: o.hear, Upstreams: map[string]string{reg: srv.URL},
			})
			for range 3 {
				_, err := ping(t, c, reg)
				if unreachable, ok := errors.AsType[*UnreachableError](err); !ok || !unreachable.Certificate {
					t.Errorf("%v", err)
				}
				c.forgetReading()
			}
			if len(o.errs) != 1 || !strings.Contains(o.String(), s.says) || !errors.Is(o.errs[0], ErrCertificates) {
				t.Errorf("told %v, want once ...%s...", o.errs, s.says)
			}
			if strings.Contains(o.String(), "BEGIN") || strings.Contains(o.String(), string(key[40:60])) {
				t.Error("told the content of a file")
			}
		})
	}
}

func manyFiles() map[string]string {
	files := map[string]string{}
	for i := range maxPEMFiles + 1 {
		files["reg.example/"+strings.Repeat("a", i)+".crt"] = "x"
	}
	return files
}

// forgetReading has the files read again at the next request.
func (c *Client) forgetReading() {
	c.trusts.mu.Lock()
	defer c.trusts.mu.Unlock()
	for _, t := range c.trusts.known.Values() {
		t.read = time.Time{}
	}
}

// A named pipe in the folder does not hold up anybody.
func TestCertsDirPipe(t *testing.T) {
	dir := folder(t, map[string]string{"reg.example/x": ""})
	if err := syscall.Mkfifo(filepath.Join(dir, "reg.example", "ca.crt"), 0o600); err != nil {
		t.Skip(err)
	}
	if _, err := readCertificates(filepath.Join(dir, reg), &url.URL{Scheme: "https", Host: reg}, false); !errors.Is(err, ErrCertificates) {
		t.Errorf("%v", err)
	}
}

// A client certificate is shown to its registry, if the operator says so, and to nobody that
// the registry redirects to; the registry's CA counts there, too. Challenges pass, for the
// registry proved to be it.
func TestClientCertificate(t *testing.T) {
	ca := newAuthority(t)
	shown := make(chan int, 8)
	store := ca.serve(tls.RequestClientCert, func(_ http.ResponseWriter, r *http.Request) { shown <- len(r.TLS.PeerCertificates) })
	status := http.StatusTemporaryRedirect
	srv := ca.serve(tls.RequireAndVerifyClientCert, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", store.URL)
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(status)
	})
	cert, key := ca.client()
	for name, files := range map[string]map[string]string{
		"Docker":        {"reg.example/ca.crt": string(ca.pem), "reg.example/client.cert": string(cert), "reg.example/client.key": string(key)},
		"Docker, one":   {"reg.example/ca.crt": string(ca.pem), "reg.example/client.cert": string(cert) + string(key)},
		"one file":      {"reg.example/ca.pem": string(ca.pem), "reg.example/c.pem": string(cert) + string(key), "reg.example/hosts.toml": "ca = \"ca.pem\"\nclient = \"c.pem\""},
		"list":          {"reg.example/ca.pem": string(ca.pem), "reg.example/c.pem": string(cert) + string(key), "reg.example/hosts.toml": "ca = \"ca.pem\"\nclient = [\"c.pem\"]"},
		"list of pairs": {"reg.example/ca.pem": string(ca.pem), "reg.example/c": string(cert), "reg.example/k": string(key), "reg.example/hosts.toml": "ca = \"ca.pem\"\nclient = [[\"c\", \"k\"]]"},
	} {
		t.Run(name, func(t *testing.T) {
			var o told
			cfg := Config{CertsDir: folder(t, files), ClientCerts: true, OnCertificates: o.hear, Upstreams: map[string]string{reg: srv.URL}}
			c := newClient(t, cfg)
			status = http.StatusTemporaryRedirect
			if code, err := ping(t, c, reg); code != 200 || len(o.errs) > 0 || !c.ShowsCertificate(reg) {
				t.Fatalf("%d, %v, told %v", code, err, &o)
			}
			if n := <-shown; n != 0 {
				t.Errorf("%d certificates were shown where the registry redirects to", n)
			}
			status = http.StatusUnauthorized
			answer, err := forward(t, c, Request{Method: "GET", Endpoint: EndpointManifest, Repository: anonymous().Repository, Reference: reference(t, "v1")})
			if err != nil || answer.header.Get("WWW-Authenticate") == "" {
				t.Errorf("no challenge: %+v, %v", answer, err)
			}

			cfg.ClientCerts = false
			c = newClient(t, cfg)
			if code, err := ping(t, c, reg); err == nil || c.ShowsCertificate(reg) || !strings.Contains(o.String(), "--certs-client") {
				t.Errorf("%d, %v: shown though nobody allowed it; told %v", code, err, &o)
			}
		})
	}
}

// Files that change are followed within a minute; while they are in disorder the old ones count.
func TestCertsDirChanges(t *testing.T) {
	first, second := newAuthority(t), newAuthority(t)
	old := first.serve(tls.NoClientCert, func(http.ResponseWriter, *http.Request) {})
	next := second.serve(tls.NoClientCert, func(http.ResponseWriter, *http.Request) {})
	dir := folder(t, map[string]string{"_default/ca.crt": string(first.pem)})
	var o told
	c := newClient(t, Config{CertsDir: dir, OnCertificates: o.hear, Upstreams: map[string]string{"old.example": old.URL, "next.example": next.URL}})
	reach := func(when string, wantOld, wantNext bool) {
		t.Helper()
		for registry, want := range map[string]bool{"old.example": wantOld, "next.example": wantNext} {
			if _, err := ping(t, c, registry); (err == nil) != want {
				t.Errorf("%s: %s: %v", when, registry, err)
			}
		}
	}
	file := filepath.Join(dir, "_default", "ca.crt")
	write := func(content []byte) {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	reach("at first", true, false)
	write(second.pem)
	reach("within the minute", true, false)
	c.forgetReading()
	reach("after it", false, true)
	write([]byte("half a fi"))
	c.forgetReading()
	reach("in disorder", false, true)
	if len(o.errs) != 2 { // once for each registry
		t.Errorf("told %v", &o)
	}
	if err := os.RemoveAll(filepath.Dir(file)); err != nil {
		t.Fatal(err)
	}
	c.forgetReading()
	reach("without", false, false)
}

// No hosts.toml makes for more than one list of each kind, and what is read is what containerd's
// documentation allows.
func FuzzParseHosts(f *testing.F) {
	for _, s := range []string{
		"", `server = "https://reg.example"` + "\nca = \"ca.crt\"\nclient = [[\"a\", \"b\"], [\"c\"], \"d\"]\nskip_verify = true",
		"[host.\"https://reg.example:443\"]\nca = [\"a\", \"b\"]\nclient = \"c\"\n[host.\"http://127.0.0.1:6050\"]\ncapabilities = [\"pull\"]",
		"ca = 7", "client = [[]]", "[host]\n", "[[host]]", "ca = [[[[]]]]", "server = \"http://%zz\"\n[host.\"\"]", "[host.\"reg.example\".header]\nx = \"y\"",
	} {
		f.Add([]byte(s))
	}
	base := &url.URL{Scheme: "https", Host: reg}
	f.Fuzz(func(t *testing.T, content []byte) {
		files, err := parseHosts(content, base)
		if err != nil {
			if !errors.Is(err, ErrCertificates) || strings.ContainsAny(err.Error(), "\n\x00") {
				t.Fatalf("%q", err)
			}
			return
		}
		if len(content) > maxHostsFile {
			t.Fatal("a long file was read")
		}
		if again, err := parseHosts(content, base); err != nil || !reflect.DeepEqual(again, files) {
			t.Fatalf("%+v, then %+v, %v", files, again, err)
		}
	})
}
