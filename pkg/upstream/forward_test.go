package upstream

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

func reference(t *testing.T, s string) Reference {
	t.Helper()
	ref, err := ParseReference(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// A forwarded answer, its body read.
type forwarded struct {
	code   int
	header http.Header
	length int64
	body   string
}

// forward returns nil when there is no answer at all. The error may be the body's.
func forward(t *testing.T, c *Client, r Request) (*forwarded, error) {
	t.Helper()
	resp, err := c.Forward(t.Context(), r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return &forwarded{code: resp.StatusCode, header: resp.Header, length: resp.ContentLength, body: string(body)}, err
}

func TestForwardRequests(t *testing.T) {
	_, d := content(1)
	repo := anonymous().Repository
	sha512 := "sha512:" + strings.Repeat("a", 128)
	var seen *http.Request
	c, _ := serve(t, func(_ http.ResponseWriter, r *http.Request) { seen = r })
	for _, s := range []struct {
		r    Request
		want string
	}{
		{Request{Method: "GET", Endpoint: EndpointPing, Repository: Repository{Registry: reg}}, "GET /v2/"},
		{Request{Method: "HEAD", Endpoint: EndpointManifest, Repository: repo, Reference: reference(t, "v1.2_x")}, "HEAD /v2/team/app/manifests/v1.2_x"},
		{Request{Method: "GET", Endpoint: EndpointManifest, Repository: repo, Reference: DigestReference(d), Query: url.Values{"ns": {reg}}}, "GET /v2/team/app/manifests/" + d.String()},
		{Request{Method: "HEAD", Endpoint: EndpointBlob, Repository: repo, Reference: DigestReference(d)}, "HEAD /v2/team/app/blobs/" + d.String()},
		{Request{Method: "GET", Endpoint: EndpointBlob, Repository: repo, Reference: reference(t, sha512), Range: "bytes=5-"}, "GET /v2/team/app/blobs/" + sha512 + " bytes=5-"},
		{Request{Method: "GET", Endpoint: EndpointTags, Repository: repo, Query: url.Values{"ns": {reg}, "n": {"10"}, "last": {"a b&c"}}}, "GET /v2/team/app/tags/list?last=a+b%26c&n=10"},
		{Request{Method: "GET", Endpoint: EndpointReferrers, Repository: repo, Reference: DigestReference(d), Query: url.Values{"artifactType": {"a/b"}}}, "GET /v2/team/app/referrers/" + d.String() + "?artifactType=a%2Fb"},
	} {
		s.r.Accept = []string{"a/b;q=1, c/d", "e/f"}
		s.r.Credential = bearer(t, "t").Credential
		if _, err := forward(t, c, s.r); err != nil {
			t.Fatal(err)
		}
		got := seen.Method + " " + seen.URL.RequestURI()
		if r := seen.Header.Get("Range"); r != "" {
			got += " " + r
		}
		if got != s.want {
			t.Errorf("sent %s, want %s", got, s.want)
		}
		seen.Header.Del("Range")
		if want := (http.Header{"Accept": {"a/b;q=1, c/d", "e/f"}, "Authorization": {"Bearer t"}, "User-Agent": {"shoal"}}); !reflect.DeepEqual(seen.Header, want) {
			t.Errorf("sent headers %v", seen.Header)
		}
	}
}

func TestForwardRefusesNonsense(t *testing.T) {
	_, d := content(1)
	repo := anonymous().Repository
	tag := reference(t, "latest")
	c, _ := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("a request was sent") })
	for name, r := range map[string]Request{
		"zero":             {},
		"method":           {Method: "PUT", Endpoint: EndpointManifest, Repository: repo, Reference: tag},
		"no endpoint":      {Method: "GET", Repository: repo, Reference: tag},
		"no reference":     {Method: "GET", Endpoint: EndpointManifest, Repository: repo},
		"blob by tag":      {Method: "GET", Endpoint: EndpointBlob, Repository: repo, Reference: tag},
		"referrers by tag": {Method: "GET", Endpoint: EndpointReferrers, Repository: repo, Reference: tag},
		"repository":       {Method: "GET", Endpoint: EndpointTags, Repository: Repository{Registry: reg, Name: "a/../b"}},
		"registry":         {Method: "GET", Endpoint: EndpointPing, Repository: Repository{Registry: "a/b"}},
		"accept":           {Method: "GET", Endpoint: EndpointManifest, Repository: repo, Reference: tag, Accept: []string{"a\r\nb: c"}},
		"long accept":      {Method: "GET", Endpoint: EndpointManifest, Repository: repo, Reference: tag, Accept: []string{strings.Repeat("a", maxAcceptBytes+1)}},
		"many accepts":     {Method: "GET", Endpoint: EndpointManifest, Repository: repo, Reference: tag, Accept: make([]string, maxAccepts+1)},
		"query":            {Method: "GET", Endpoint: EndpointTags, Repository: repo, Query: url.Values{"last": {strings.Repeat("a", maxQueryBytes)}}},
		"range":            {Method: "GET", Endpoint: EndpointManifest, Repository: repo, Reference: tag, Range: "bytes=0-1"},
		"range value":      {Method: "GET", Endpoint: EndpointBlob, Repository: repo, Reference: DigestReference(d), Range: "bytes=0-1\n"},
	} {
		if _, err := forward(t, c, r); !errors.Is(err, ErrRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestForwardHeaders(t *testing.T) {
	pass := http.Header{
		"Content-Type": {"application/x"}, "Content-Length": {"2"}, "Docker-Content-Digest": {"sha256:0"}, "Link": {"</v2/>; rel=next"},
		"Docker-Distribution-Api-Version": {"registry/2.0"}, "Oci-Filters-Applied": {"artifactType"}, "Oci-Subject": {"sha256:1"}, "Etag": {`"x"`},
		"Ratelimit-Limit": {"100;w=21600"}, "Ratelimit-Remaining": {"76;w=21600"}, "Retry-After": {"1"}, "Warning": {`299 - "old"`, `299 - "older"`},
	}
	c, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		maps.Copy(w.Header(), pass)
		w.Header().Set("Set-Cookie", "a=b")
		w.Header().Set("X-Internal", "c")
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`) // with a 200 nobody needs it
		_, _ = io.WriteString(w, "{}")
	})
	for _, method := range []string{"GET", "HEAD"} {
		r := Request{Method: method, Endpoint: EndpointManifest, Repository: anonymous().Repository, Reference: reference(t, "v1")}
		got, err := forward(t, c, r)
		if err != nil || got.code != 200 || got.length != 2 || (got.body == "{}") != (method == "GET") {
			t.Fatalf("%s: %+v %v", method, got, err)
		}
		if !reflect.DeepEqual(got.header, pass) {
			t.Errorf("%s: passed %v", method, got.header)
		}
	}
}

func TestForwardChallenges(t *testing.T) {
	challenge := []string{`Bearer realm="https://auth.example/token",service="x",scope="repository:a:pull"`, `Basic realm="x"`}
	refuse := func(w http.ResponseWriter, r *http.Request) {
		if to := r.Header.Get("Authorization"); strings.HasPrefix(to, "http") {
			http.Redirect(w, r, to, http.StatusTemporaryRedirect) // the tests steer by the credential
			return
		}
		w.Header()["Www-Authenticate"] = challenge
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"errors":[]}`)
	}
	pool := x509.NewCertPool()
	secure, other, plain := startTLS(t, pool, refuse), startTLS(t, pool, refuse), start(t, refuse)
	trusted := newClient(t, Config{RootCAs: pool, Upstreams: map[string]string{reg: secure.URL, "plain.example": plain.URL}})
	// A transport that does not verify: only the connection itself can tell.
	blind := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(blind.CloseIdleConnections)
	careless := newClient(t, Config{RoundTripper: blind, Upstreams: map[string]string{reg: secure.URL}})

	for name, s := range map[string]struct {
		client   *Client
		registry string
		steer    string
		pass     bool
	}{
		"verified TLS":            {trusted, reg, "", true},
		"configured without TLS":  {trusted, "plain.example", "", true},
		"not verified":            {careless, reg, "", false},
		"from another host":       {trusted, reg, other.URL, false},
		"from another host plain": {trusted, "plain.example", other.URL, false},
	} {
		r := Request{Method: "GET", Endpoint: EndpointManifest, Repository: Repository{Registry: s.registry, Name: "a"}, Reference: reference(t, "v1")}
		if s.steer != "" {
			var err error
			if r.Credential, err = NewCredential(s.steer); err != nil {
				t.Fatal(err)
			}
		}
		answer, err := forward(t, s.client, r)
		if err != nil || answer.code != 401 || answer.body != `{"errors":[]}` {
			t.Errorf("%s: %+v %v", name, answer, err)
			continue
		}
		if got := answer.header["Www-Authenticate"]; s.pass != reflect.DeepEqual(got, challenge) || !s.pass && len(got) > 0 {
			t.Errorf("%s: passed %q", name, got)
		}
	}
	for registry, want := range map[string]bool{reg: true, "plain.example": true, "Unknown.example:5000": true, "no/registry": false} {
		if trusted.TLSVerified(registry) != want {
			t.Errorf("TLSVerified(%s) = %v", registry, !want)
		}
	}
}

func TestForwardErrorBodies(t *testing.T) {
	for name, s := range map[string]struct {
		serve func(w http.ResponseWriter)
		want  int
	}{
		"long":    {func(w http.ResponseWriter) { w.WriteHeader(500); _, _ = w.Write(bytes.Repeat([]byte("x"), 200_000)) }, int(maxErrorBody)},
		"chunked": {func(w http.ResponseWriter) { chunked(w, 404, make([]byte, 300)) }, 300},
		"encoded": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Encoding", "br")
			w.WriteHeader(403)
			_, _ = io.WriteString(w, "garbage")
		}, 0},
		"cut": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(503)
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { s.serve(w) })
			r := Request{Method: "GET", Endpoint: EndpointTags, Repository: anonymous().Repository}
			got, err := forward(t, c, r)
			if err != nil || len(got.body) != s.want || int(got.length) != s.want || got.header.Get("Content-Length") != fmt.Sprint(s.want) {
				t.Fatalf("%+v, %v", got, err)
			}
			if len(got.header["Content-Encoding"]) > 0 {
				t.Error("the encoding was passed on")
			}
		})
	}
}

func TestForwardBodies(t *testing.T) {
	for name, s := range map[string]struct {
		serve   func(w http.ResponseWriter)
		early   bool // no response at all
		most    int
		invalid bool
	}{
		"encoded":           {serve: func(w http.ResponseWriter) { w.Header().Set("Content-Encoding", "gzip") }, early: true, invalid: true},
		"too long":          {serve: func(w http.ResponseWriter) { w.Header().Set("Content-Length", fmt.Sprint(int64(maxManifestBody)+1)) }, early: true, invalid: true},
		"too long, chunked": {serve: func(w http.ResponseWriter) { flood(w, int(maxManifestBody)+1) }, most: int(maxManifestBody), invalid: true},
		"as long as may be": {serve: func(w http.ResponseWriter) { flood(w, int(maxManifestBody)) }, most: int(maxManifestBody)},
		"ends before its end": {serve: func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, most: 4},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { s.serve(w) })
			r := Request{Method: "GET", Endpoint: EndpointManifest, Repository: anonymous().Repository, Reference: reference(t, "v1")}
			got, err := forward(t, c, r)
			if (got == nil) != s.early || got != nil && len(got.body) != s.most {
				t.Errorf("answer %v", got != nil)
			}
			_, isInvalid := errors.AsType[*InvalidResponseError](err)
			_, isCut := errors.AsType[*TruncatedError](err)
			if errors.Is(err, ErrTooLong) != strings.HasPrefix(name, "too long") {
				t.Errorf("%v matches ErrTooLong: %v", err, errors.Is(err, ErrTooLong))
			}
			if isInvalid != s.invalid || isCut != (s.most == 4) || err == nil != (s.most == int(maxManifestBody) && !s.invalid) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// flood writes n bytes of unannounced length.
func flood(w http.ResponseWriter, n int) {
	_ = http.NewResponseController(w).Flush()
	_, _ = w.Write(make([]byte, n))
}

func TestForwardFollowsRedirects(t *testing.T) {
	pool := x509.NewCertPool()
	other := startTLS(t, pool, func(w http.ResponseWriter, r *http.Request) {
		if len(r.Header["Authorization"]) > 0 || r.Header.Get("Accept") != "a/b" {
			t.Errorf("headers %v", r.Header)
		}
		if r.ProtoMajor != 2 {
			t.Errorf("spoken: %s", r.Proto)
		}
		w.Header().Set("Content-Type", "a/b")
		_, _ = io.WriteString(w, "{}")
	})
	srv := startTLS(t, pool, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/elsewhere", http.StatusTemporaryRedirect)
	})
	c := newClient(t, Config{RootCAs: pool, Upstreams: map[string]string{reg: srv.URL}})
	r := Request{
		Method: "GET", Endpoint: EndpointManifest, Repository: anonymous().Repository, Reference: reference(t, "v1"),
		Accept: []string{"a/b"}, Credential: bearer(t, "x").Credential,
	}
	if got, err := forward(t, c, r); err != nil || got.body != "{}" || got.header.Get("Content-Type") != "a/b" {
		t.Errorf("%+v %v", got, err)
	}
}
