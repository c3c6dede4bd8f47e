package blob

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
)

const hello = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

func TestParseDigest(t *testing.T) {
	d, err := ParseDigest(hello)
	if err != nil {
		t.Fatal(err)
	}
	if d != Digest(sha256.Sum256([]byte("hello"))) {
		t.Errorf("ParseDigest(%q) = %x", hello, d[:])
	}
	if d.String() != hello || d.Hex() != hello[len("sha256:"):] || d.Short() != "2cf24dba5fb0" || d.IsZero() {
		t.Errorf("%s is shown as %s, %s, %s", hello, d, d.Hex(), d.Short())
	}
	if !(Digest{}).IsZero() {
		t.Error("the zero Digest is not zero")
	}
}

func TestParseDigestRefuses(t *testing.T) {
	for _, s := range []string{
		"", "sha256:", hello[7:], "SHA256:" + hello[7:], "sha512:" + hello[7:], "sha256" + hello[7:],
		hello[:len(hello)-1], hello + "0", hello + "\n", " " + hello,
		strings.ToUpper(hello), "sha256:" + strings.ToUpper(hello[7:]),
		"sha256:" + strings.Repeat("g", 64), "sha256:../" + hello[10:],
		"sha256:" + strings.Repeat("\u0131", 32), // lower case, not ASCII
	} {
		if d, err := ParseDigest(s); !errors.Is(err, ErrDigest) || !d.IsZero() {
			t.Errorf("ParseDigest(%q) = %s, %v", s, d, err)
		}
	}
}

func TestDigestInJSON(t *testing.T) {
	var got struct{ D Digest }
	if err := json.Unmarshal([]byte(`{"D":"`+hello+`"}`), &got); err != nil {
		t.Fatal(err)
	}
	back, err := json.Marshal(got)
	if err != nil || string(back) != `{"D":"`+hello+`"}` {
		t.Errorf("comes back as %s, %v", back, err)
	}
	before := got.D
	if err := json.Unmarshal([]byte(`{"D":"sha256:zz"}`), &got); !errors.Is(err, ErrDigest) || got.D != before {
		t.Errorf("a bad digest gives %v and leaves %s", err, got.D)
	}
}

func FuzzParseDigest(f *testing.F) {
	for _, s := range []string{hello, "sha256:", "", strings.ToUpper(hello), hello + "0"} {
		f.Add(s)
	}
	form := regexp.MustCompile(`^sha256:[0-9a-f]{64}$`) // descriptor.md, "SHA-256"
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDigest(s)
		if ok := form.MatchString(s); ok != (err == nil) {
			t.Fatalf("ParseDigest(%q): %v", s, err)
		}
		if err != nil {
			if !errors.Is(err, ErrDigest) || !d.IsZero() {
				t.Errorf("ParseDigest(%q) = %s, %v", s, d, err)
			}
			return
		}
		if d.String() != s {
			t.Errorf("%q is shown as %q", s, d.String())
		}
	})
}
