package credentials

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const secret = "pa55word"

func TestParse(t *testing.T) {
	f, err := Parse([]byte(`{"auths":{
		"https://index.docker.io/v1/":{"auth":"aHViOnBhNTV3b3JkOnR3bw=="},
		"reg.example:5000":{"username":"u","password":"pa55word"},
		"https://GHCR.io/v2/":{"identitytoken":"it"},
		"empty.example":{}},
		"credHelpers":{"gcr.io":"gcloud"},"credsStore":"desktop","HttpHeaders":{"a":"b"}}`))
	if err != nil {
		t.Fatal(err)
	}
	for registry, want := range map[string]Login{
		"docker.io":        {Name: "hub", Password: "pa55word:two"},
		"reg.example:5000": {Name: "u", Password: secret},
		"ghcr.io":          {IdentityToken: "it"},
		"empty.example":    {},
		"reg.example":      {},
	} {
		if f.logins[registry] != want {
			t.Errorf("%s: another login", registry)
		}
	}
	if f.helpers["gcr.io"] != "gcloud" || f.store != "desktop" {
		t.Errorf("helpers %v, store %q", f.helpers, f.store)
	}
}

func TestParseRefuses(t *testing.T) {
	for what, text := range map[string]string{
		"nothing": "", "a list": "[]", "null": "null", "not JSON": "{",
		"not base64":      `{"auths":{"a":{"auth":"pa55word"}}}`,
		"no colon":        `{"auths":{"a":{"auth":"cGE1NXdvcmQ="}}}`,
		"a control":       `{"auths":{"a":{"username":"u","password":"pa55word\n"}}}`,
		"a path":          `{"credsStore":"../pa55word"}`,
		"an empty helper": `{"credHelpers":{"a":""}}`,
		"dots":            `{"credsStore":".."}`,
		"a long secret":   `{"auths":{"a":{"password":"` + strings.Repeat(secret, secretMax/8+1) + `"}}}`,
		"deep":            strings.Repeat(`{"a":`, depthMax+1) + "1" + strings.Repeat("}", depthMax+1),
		"large":           `{"a":"` + strings.Repeat("a", FileMax) + `"}`,
	} {
		_, err := Parse([]byte(text))
		if !errors.Is(err, ErrFile) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", what, err)
		}
	}
	var many strings.Builder
	for i := range loginsMax + 1 {
		fmt.Fprintf(&many, `,"r%d":{}`, i)
	}
	if _, err := Parse([]byte(`{"auths":{` + many.String()[1:] + `}}`)); !errors.Is(err, ErrFile) {
		t.Errorf("many: %v", err)
	}
}

// keeper writes a config.json and a credential helper.
func keeper(t *testing.T, config, script string) Keeper {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "config.json")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	helper := filepath.Join(dir, "docker-credential-test")
	if err := os.WriteFile(helper, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	return Keeper{Path: file}
}

func TestHelpers(t *testing.T) {
	const answer = `read key; [ "$1" = get ] && echo "{\"ServerURL\":\"$key\",\"Username\":\"$key\",\"Secret\":\"pa55word\"}"`
	for what, c := range map[string]struct {
		config, script, registry string
		want                     Login
	}{
		"of the registry": {`{"credHelpers":{"gcr.io":"test"}}`, answer, "gcr.io", Login{Name: "gcr.io", Password: secret}},
		"of all":          {`{"credsStore":"test"}`, answer, "docker.io", Login{Name: dockerHubKey, Password: secret}},
		"of another":      {`{"credHelpers":{"gcr.io":"test"}}`, answer, "a.example", Login{}},
		"file first":      {`{"credsStore":"test","auths":{"a.example":{"auth":"dTpw"}}}`, answer, "a.example", Login{Name: "u", Password: "p"}},
		"a token":         {`{"credsStore":"test"}`, `echo '{"Username":"<token>","Secret":"pa55word"}'`, "a.example", Login{IdentityToken: secret}},
		"has none":        {`{"credsStore":"test"}`, `echo credentials not found in native keychain; exit 1`, "a.example", Login{}},
	} {
		t.Run(what, func(t *testing.T) {
			got, err := keeper(t, c.config, c.script).Login(t.Context(), c.registry)
			if err != nil || got != c.want {
				t.Errorf("another login, %v", err)
			}
		})
	}
}

// What goes wrong is told without the helper's own words, which may hold a secret.
func TestHelpersFail(t *testing.T) {
	for what, c := range map[string]struct{ config, script, says string }{
		"fails":       {`{"credsStore":"test"}`, `echo pa55word; echo pa55word >&2; exit 1`, "gave no login"},
		"no JSON":     {`{"credsStore":"test"}`, `echo pa55word`, "gave no login"},
		"too much":    {`{"credsStore":"test"}`, `yes pa55word`, "gave no login"},
		"a control":   {`{"credsStore":"test"}`, `printf '{"Username":"u","Secret":"pa55word\\n"}'`, "control characters"},
		"not there":   {`{"credsStore":"nowhere"}`, ``, "docker-credential-nowhere is not where this daemon looks"},
		"broken file": {`{"auths":pa55word}`, ``, "config.json"},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := keeper(t, c.config, c.script).Login(t.Context(), "a.example")
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), secret) {
				t.Errorf("err = %v", err)
			}
		})
	}
	if _, err := (Keeper{Path: filepath.Join(t.TempDir(), "none")}).Login(t.Context(), "a.example"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("err = %v", err)
	}
}

// A login works all the same, and who can read it beside the daemon is told.
func TestReadableByOthers(t *testing.T) {
	const config = `{"auths":{"a.example":{"auth":"dTpwYTU1d29yZA=="}}}`
	for mode, want := range map[os.FileMode]string{0o600: "", 0o400: "", 0o640: "(mode 0640)", 0o604: "(mode 0604)", 0o620: "(mode 0620)"} {
		var said string
		k := keeper(t, config, "")
		k.Warn = func(sentence string) { said += sentence }
		if err := os.Chmod(k.Path, mode); err != nil {
			t.Fatal(err)
		}
		login, err := k.Login(t.Context(), "a.example")
		if want := (Login{Name: "u", Password: secret}); err != nil || login != want {
			t.Errorf("mode %04o: another login, %v", mode, err)
		}
		if !strings.HasSuffix(said, want) || (said == "") != (want == "") || strings.Contains(said, secret) {
			t.Errorf("mode %04o: %q", mode, said)
		}
	}
}

func TestLoginNeverPrints(t *testing.T) {
	l := Login{Name: secret, Password: secret, IdentityToken: secret, RegistryToken: secret}
	text, err := json.Marshal(struct{ L Login }{l})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "login", l, "in", []Login{l})
	for _, said := range []string{string(text), log.String(), fmt.Sprint(l), fmt.Sprintf("%v %+v %#v %q %x %d", l, l, l, l, l, l)} {
		if strings.Contains(said, secret) || strings.Contains(said, fmt.Sprintf("%x", secret)) {
			t.Errorf("it prints: %s", said)
		}
	}
}

// Whatever a config.json holds, it is read quickly, and what comes out keeps the limits.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"auths":{"https://index.docker.io/v1/":{"auth":"dTpw"}},"credHelpers":{"gcr.io":"gcloud"},"credsStore":"desktop"}`))
	f.Add([]byte(`{"auths":{"a":{"identitytoken":"x","registrytoken":"y","username":"u","password":"p"}}}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		file, err := Parse(content)
		if err != nil {
			if !errors.Is(err, ErrFile) {
				t.Errorf("err = %v", err)
			}
			return
		}
		for _, l := range file.logins {
			if l.IsZero() || l.check() != nil {
				t.Error("a login beyond the limits")
			}
		}
		for _, h := range file.helpers {
			if !validHelper(h) || strings.ContainsAny(h, "/\\\x00") {
				t.Errorf("helper %q", h)
			}
		}
	})
}
