package upstream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

const (
	plantedToken = "PLANTED-TOKEN-c0ffee"
	plantedQuery = "PLANTED-SIGNATURE-c0ffee"
)

// tellsNothing fails if any way of writing v shows a planted secret.
func tellsNothing(t *testing.T, what string, v any) {
	t.Helper()
	var logged bytes.Buffer
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "v", v)
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "v", v)
	encoded, _ := json.Marshal(v)
	for _, text := range []string{
		fmt.Sprint(v), fmt.Sprintf("%+v", v), fmt.Sprintf("%#v", v), fmt.Sprintf("%s", v), fmt.Sprintf("%q", v),
		fmt.Sprintf("%d", v), fmt.Sprintf("%t", v), logged.String(), string(encoded),
	} {
		if strings.Contains(text, "PLANTED") || strings.Contains(text, fmt.Sprintf("%x", "PLANTED")) {
			t.Errorf("%s shows a secret: %s", what, text)
		}
	}
}

func TestCredentialIsNeverWritten(t *testing.T) {
	src := bearer(t, plantedToken)
	tellsNothing(t, "a credential", src.Credential)
	tellsNothing(t, "a pointer to a credential", &src.Credential)
	tellsNothing(t, "a source", src)
	tellsNothing(t, "a hidden credential", struct{ c Credential }{src.Credential})
	tellsNothing(t, "a request", Request{Credential: src.Credential})
	tellsNothing(t, "a list", []any{src.Credential, map[string]Source{"x": src}})
	tellsNothing(t, "a key", locationKey{credential: src.Credential})
	if got := fmt.Sprintf("%x", src.Credential); strings.Contains(got, fmt.Sprintf("%x", plantedToken)) {
		t.Errorf("in hex: %s", got)
	}
	if src.Credential.Authorization() != "Bearer "+plantedToken {
		t.Error("the value is lost")
	}
}

func TestCredential(t *testing.T) {
	one, other := bearer(t, "a").Credential, bearer(t, "b").Credential
	if !one.Equal(bearer(t, "a").Credential) || one.Equal(other) || one.Equal(Credential{}) || one != bearer(t, "a").Credential {
		t.Error("credentials compare wrongly")
	}
	anonymous, err := NewCredential("")
	if err != nil || !anonymous.IsZero() || !anonymous.Equal(Credential{}) || anonymous.Authorization() != "" || anonymous.String() != "anonymous" {
		t.Errorf("anonymous: %v, %v", anonymous, err)
	}
	for _, wrong := range []string{"Bearer " + plantedToken + "\r\nX: y", plantedToken + "\x00", "\x7f" + plantedToken, strings.Repeat("PLANTED", maxCredential)} {
		_, err := NewCredential(wrong)
		if !errors.Is(err, ErrCredential) {
			t.Errorf("%.20q: %v", wrong, err)
		}
		tellsNothing(t, "a credential's error", err)
	}
}

// Whatever an upstream does with what it was told, no error repeats it.
func TestErrorsTellNothing(t *testing.T) {
	_, d := content(10)
	signed := "/x?X-Amz-Signature=" + plantedQuery
	echo := plantedToken + plantedQuery
	to := func(base string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", base+signed)
			w.WriteHeader(http.StatusTemporaryRedirect)
		}
	}
	answer := func(change func(http.Header), status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if !strings.Contains(r.URL.RawQuery, plantedQuery) {
				to("")(w, r)
				return
			}
			w.Header().Set("Content-Length", "10")
			change(w.Header())
			w.WriteHeader(status)
			_, _ = io.WriteString(w, echo)
		}
	}
	set := func(name, value string) func(http.Header) { return func(h http.Header) { h.Set(name, value) } }
	for name, h := range map[string]http.HandlerFunc{
		"refused elsewhere":      to("http://" + closedPort(t)),
		"closed elsewhere":       to("http://" + speaker(t, "")),
		"not HTTP":               to("http://" + speaker(t, echo+"\r\n\r\n")),
		"strange status":         to("http://" + speaker(t, "HTTP/1.1 "+echo+" "+echo+"\r\n\r\n")),
		"strange header":         to("http://" + speaker(t, "HTTP/1.1 200 OK\r\n"+echo+"\r\n\r\n")),
		"strange length":         to("http://" + speaker(t, "HTTP/1.1 200 OK\r\nContent-Length: "+echo+"\r\n\r\n")),
		"strange encoding":       to("http://" + speaker(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: "+echo+"\r\n\r\n")),
		"not TLS":                to("https://" + speaker(t, echo)),
		"another scheme":         to("ftp://x.example"),
		"malformed URL":          to("http://%zz" + echo),
		"a password":             to("http://u:" + echo + "@x.example"),
		"status":                 answer(func(http.Header) {}, 403),
		"retry after":            answer(set("Retry-After", echo), 429),
		"content range":          answer(set("Content-Range", "bytes "+echo), 206),
		"digest":                 answer(set("Docker-Content-Digest", echo), 200),
		"encoding":               answer(set("Content-Encoding", echo), 200),
		"length":                 answer(set("Content-Length", "11"), 200),
		"challenge":              answer(set("WWW-Authenticate", echo), 401),
		"truncated":              answer(set("Content-Length", "9999"), 500),
		"too many redirects":     func(w http.ResponseWriter, r *http.Request) { to("")(w, r) },
		"no range, wrong status": answer(func(http.Header) {}, 204),
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := serve(t, h)
			_, err := read(t.Context(), c, bearer(t, plantedToken), d, 10, 0, 10)
			if err == nil {
				t.Fatal("the read succeeded")
			}
			for ; err != nil; err = errors.Unwrap(err) {
				if status, ok := errors.AsType[*StatusError](err); ok { // its challenges are meant for the client
					err = errors.New(status.Error())
				}
				tellsNothing(t, fmt.Sprint(reflect.TypeOf(err)), err)
			}
			r := Request{Method: "GET", Endpoint: EndpointBlob, Repository: anonymous().Repository, Reference: DigestReference(d), Credential: bearer(t, plantedToken).Credential}
			if resp, err := c.Forward(t.Context(), r); err != nil {
				tellsNothing(t, "the error of Forward", err)
			} else {
				_, err = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
				tellsNothing(t, "the error of a forwarded body", err)
			}
		})
	}
}
