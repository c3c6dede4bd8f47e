package admission

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecretRoundTrip(t *testing.T) {
	s := GenerateSecret()
	if s == GenerateSecret() || s.IsZero() {
		t.Fatal("two generated secrets are alike, or one is zero")
	}
	for _, text := range []string{string(s.Encode()), strings.TrimSpace(string(s.Encode())), strings.ToUpper(string(s.Encode())), strings.TrimSpace(string(s.Encode())) + "\r\n"} {
		got, err := ParseSecret([]byte(text))
		if err != nil || got != s {
			t.Errorf("ParseSecret(%d characters) = %v, %v", len(text), got, err)
		}
	}
}

func TestParseSecretRefuses(t *testing.T) {
	good := strings.TrimSpace(string(GenerateSecret().Encode()))
	for name, text := range map[string]string{
		"empty": "", "short": good[:63], "long": good + "00", "two newlines": good + "\n\n",
		"no hex": "z" + good[1:], "zeros": strings.Repeat("0", 64), "spaces": " " + good[1:],
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseSecret([]byte(text))
			if !errors.Is(err, ErrSecret) {
				t.Fatalf("err = %v, want ErrSecret", err)
			}
			if len(text) > 10 && strings.Contains(err.Error(), text[5:15]) {
				t.Errorf("the error holds the text: %v", err)
			}
		})
	}
}

func TestSecretNeverPrints(t *testing.T) {
	s := GenerateSecret()
	var out bytes.Buffer
	_, _ = fmt.Fprintf(&out, "%v %+v %#v %s %x %q %d %v %+v", s, s, s, s, s, s, s, &s, struct{ S Secret }{s})
	_ = json.NewEncoder(&out).Encode(map[string]any{"s": s})
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "s", s, "config", Config{Secrets: []Secret{s}})
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "s", s, "config", Config{Secrets: []Secret{s}})
	text := strings.ToLower(out.String())
	k := s.key
	for _, leak := range []string{
		hex.EncodeToString(k[:4]), fmt.Sprintf("%d %d %d %d", k[0], k[1], k[2], k[3]), fmt.Sprintf("%d,%d,%d,%d", k[0], k[1], k[2], k[3]),
	} {
		if strings.Contains(text, leak) {
			t.Errorf("printed: %s", text)
		}
	}
}

func TestLoadSecret(t *testing.T) {
	s := GenerateSecret()
	file := filepath.Join(t.TempDir(), "swarm")
	write := func(content []byte, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(file, content, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	write(s.Encode(), 0o600)
	if got, warning, err := LoadSecret(file); err != nil || warning != "" || got != s {
		t.Errorf("0600: %v, %q, %v", got, warning, err)
	}
	write(s.Encode(), 0o644)
	if got, warning, err := LoadSecret(file); err != nil || !strings.Contains(warning, file) || got != s {
		t.Errorf("0644: %v, %q, %v", got, warning, err)
	}
	write([]byte("hunter2"), 0o600)
	if _, _, err := LoadSecret(file); !errors.Is(err, ErrSecret) || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("malformed: %v", err)
	}
	if _, _, err := LoadSecret(file + ".none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
}
