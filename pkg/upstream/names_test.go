package upstream

import (
	"errors"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
)

var hex64 = strings.Repeat("0a", 32)

func TestNames(t *testing.T) {
	for name, s := range map[string]struct {
		valid     func(string) bool
		good, bad []string
	}{
		"registry": {
			ValidRegistry,
			[]string{"docker.io", "localhost", "localhost:5000", "reg.example:65535", "10.0.0.1", "10.0.0.1:5000", "[::1]", "[::1]:5000", "[2001:db8::1]:443", "a", "A-b.C", strings.Repeat(strings.Repeat("a", 63)+".", 3) + strings.Repeat("a", 61)},
			[]string{
				"", ".", "a.", ".a", "a..b", "-a", "a-", "a_b", "a b", "a/b", "a:", "a:0", "a:65536", "a:080", "a:+80", "a:http", "a:1:2", "::1", "[::1", "[::1]a", "[::1]:",
				"[1.2.3.4]", "[fe80::1%eth0]", "[]", "a@b", "user:pw@a", "é.example", "a\x00", "a\n", strings.Repeat("a", 64), strings.Repeat("a.", 130), "_other",
			},
		},
		"repository": {
			ValidName,
			[]string{"nginx", "library/nginx", "a/b/c/d", "a.b", "a_b", "a__b", "a-b", "a---b", "0", strings.Repeat("a", 255)},
			[]string{"", "/", "a/", "/a", "a//b", "A", "a..b", "a___b", "a._b", "a.-b", "a-", "-a", ".a", "a.", "a_", "_a", "..", "a/../b", "a b", "a%2fb", "a?b", "a#b", "a:b", "a@b", "a\\b", "é", strings.Repeat("a", 256)},
		},
		"tag": {
			ValidTag,
			[]string{"latest", "v1.2.3", "_x", "A", "0", "a-b.c_d", strings.Repeat("a", 128)},
			[]string{"", ".a", "-a", "a/b", "a:b", "a b", "a\n", "é", "..", strings.Repeat("a", 129)},
		},
		"digest": {
			ValidDigest,
			[]string{"sha256:" + hex64, "sha512:" + hex64 + hex64, "a+b.c_d-e:A=_-9", "blake3:" + hex64},
			[]string{"", ":", "sha256:", "sha256:" + hex64[1:], "sha256:" + hex64 + "0", "sha256:" + strings.ToUpper(hex64), "SHA512:00", "a+:0", "+a:0", "a++b:0", "a:b:c", "a:/", "a:..", "a: ", "a:" + strings.Repeat("a", 254)},
		},
	} {
		for _, good := range s.good {
			if !s.valid(good) {
				t.Errorf("%s %q is refused", name, good)
			}
		}
		for _, bad := range s.bad {
			if s.valid(bad) {
				t.Errorf("%s %q is accepted", name, bad)
			}
		}
	}
}

func TestParseRepository(t *testing.T) {
	r, err := ParseRepository("Docker.IO", "library/nginx")
	if err != nil || r != (Repository{Registry: "docker.io", Name: "library/nginx"}) || r.String() != "docker.io/library/nginx" {
		t.Errorf("%v, %v", r, err)
	}
	for s, want := range map[string]string{
		"docker.io/library/nginx": "docker.io library/nginx", "localhost/a": "localhost a", "reg:5000/a/b": "reg:5000 a/b", "[::1]:5000/a": "[::1]:5000 a",
		"nginx": "", "library/nginx": "", "docker.io": "", "docker.io/": "", "": "", "/a": "", "a.b/C": "",
	} {
		r, err := ParseQualified(s)
		if got := strings.TrimSpace(r.Registry + " " + r.Name); got != want || errors.Is(err, ErrName) != (want == "") {
			t.Errorf("ParseQualified(%q) = %q, %v", s, got, err)
		}
	}
}

func TestParseReference(t *testing.T) {
	for s, want := range map[string]struct{ ok, tag, sha256 bool }{
		"latest": {true, true, false}, "sha256": {true, true, false}, hex64: {true, true, false},
		"sha256:" + hex64: {true, false, true}, "sha512:" + hex64 + hex64: {true, false, false}, "": {}, "a:": {}, "a/b": {}, "sha256:12": {},
	} {
		r, err := ParseReference(s)
		_, sha256 := r.Digest()
		if (err == nil) != want.ok || r.IsTag() != want.tag || sha256 != want.sha256 || r.IsZero() == want.ok {
			t.Errorf("ParseReference(%q) = %v, %v", s, r, err)
		}
		if err == nil && r.String() != s || err != nil && !errors.Is(err, ErrName) {
			t.Errorf("ParseReference(%q) = %v, %v", s, r, err)
		}
	}
	d := blob.Digest{1}
	if got, ok := DigestReference(d).Digest(); !ok || got != d {
		t.Error("DigestReference is not what Digest returns")
	}
}

// The grammars as the specifications write them.
var (
	nameModel   = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagModel    = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
	digestModel = regexp.MustCompile(`^[a-z0-9]+([+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+$`)
	sha256Model = regexp.MustCompile(`^sha256:[a-f0-9]{64}$`)
	hostModel   = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`)
	portModel   = regexp.MustCompile(`^(.*?)(:([1-9][0-9]{0,4}))?$`)
)

func modelRegistry(s string) bool {
	m := portModel.FindStringSubmatch(s)
	if m == nil || len(s) > maxRegistry {
		return false
	}
	if port, err := strconv.Atoi(m[3]); m[3] != "" && (err != nil || port > 65535) {
		return false
	}
	if hostModel.MatchString(m[1]) {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(m[1], "[]"))
	return err == nil && ip.Is6() && ip.Zone() == "" && m[1] == "["+strings.Trim(m[1], "[]")+"]"
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"docker.io", "library/nginx", "a__b", "a.-b", "latest", "sha256:" + hex64, "a+b:c", "[::1]:5000", "host:65536", "[::ffff:1.2.3.4]:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := ValidName(s), nameModel.MatchString(s) && len(s) <= maxName; got != want {
			t.Errorf("ValidName(%q) = %v", s, got)
		}
		if got, want := ValidTag(s), tagModel.MatchString(s); got != want {
			t.Errorf("ValidTag(%q) = %v", s, got)
		}
		want := digestModel.MatchString(s) && len(s) <= maxDigest && (!strings.HasPrefix(s, "sha256:") || sha256Model.MatchString(s))
		if got := ValidDigest(s); got != want {
			t.Errorf("ValidDigest(%q) = %v", s, got)
		}
		if got, want := ValidRegistry(s), modelRegistry(s); got != want {
			t.Errorf("ValidRegistry(%q) = %v", s, got)
		}
		if ref, err := ParseReference(s); (err == nil) != (ValidTag(s) || ValidDigest(s)) || err == nil && ref.IsTag() == ValidDigest(s) {
			t.Errorf("ParseReference(%q) = %v, %v", s, ref, err)
		}
		if r, err := ParseQualified(s); err == nil && !strings.EqualFold(r.String(), s) {
			t.Errorf("ParseQualified(%q) = %v", s, r)
		}
	})
}
