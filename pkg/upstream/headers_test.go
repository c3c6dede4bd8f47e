package upstream

import (
	"errors"
	"math/big"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestParseContentRange(t *testing.T) {
	for s, want := range map[string]ContentRange{
		"bytes 0-0/1":  {0, 0, 1},
		"Bytes 5-9/10": {5, 9, 10},
		"bytes 0-9223372036854775806/9223372036854775807": {0, 1<<63 - 2, 1<<63 - 1},
		"bytes 007-8/9": {7, 8, 9},
	} {
		if got, ok := ParseContentRange(s); !ok || got != want {
			t.Errorf("%q: %v, %v", s, got, ok)
		}
	}
	for _, s := range []string{
		"", "bytes", "bytes ", "bytes 0-0", "bytes 0-0/", "bytes 0-0/*", "bytes */1", "bytes 1-0/2", "bytes 0-1/1", "bytes=0-0/1", " bytes 0-0/1", "bytes  0-0/1",
		"bytes 0-0/1 ", "bytes -0-0/1", "bytes 0-+0/1", "bytes 0-0/0x1", "bytes 0-0/9223372036854775808", "bytes 0-0/1, 0-0/1", "items 0-0/1", "bytes 0-0/1/1",
	} {
		if got, ok := ParseContentRange(s); ok {
			t.Errorf("%q: %v", s, got)
		}
	}
}

var contentRangeModel = regexp.MustCompile(`^(?i:bytes) ([0-9]+)-([0-9]+)/([0-9]+)$`)

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-0/1", "bytes 200-499/1000", "bytes */5", "bytes 0-9223372036854775807/9223372036854775808", "bytes 0-1/00000000000000000000000000002"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := ParseContentRange(s)
		m := contentRangeModel.FindStringSubmatch(s)
		if m == nil {
			if ok {
				t.Fatalf("%q: %v", s, got)
			}
			return
		}
		var n [3]*big.Int
		for i := range n {
			n[i], _ = new(big.Int).SetString(m[i+1], 10)
		}
		want := n[0].Cmp(n[1]) <= 0 && n[1].Cmp(n[2]) < 0 && n[2].IsInt64()
		if ok != want || ok && (n[0].Int64() != int64(got.First) || n[1].Int64() != int64(got.Last) || n[2].Int64() != int64(got.Total)) {
			t.Fatalf("%q: %v, %v", s, got, ok)
		}
	})
}

func TestParseChallenges(t *testing.T) {
	bearer := func(params map[string]string) Challenge { return Challenge{Scheme: "Bearer", Parameters: params} }
	for s, want := range map[string][]Challenge{
		"": nil, " , ": nil,
		"Basic":                  {{Scheme: "Basic"}},
		"Negotiate":              {{Scheme: "Negotiate"}},
		"Negotiate a1+/==":       {{Scheme: "Negotiate", Token: "a1+/=="}},
		`Basic realm="x"`:        {{Scheme: "Basic", Parameters: map[string]string{"realm": "x"}}},
		`Basic realm="a\"b,\\c"`: {{Scheme: "Basic", Parameters: map[string]string{"realm": `a"b,\c`}}},
		`Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/nginx:pull"`: {
			bearer(map[string]string{"realm": "https://auth.docker.io/token", "service": "registry.docker.io", "scope": "repository:library/nginx:pull"}),
		},
		`Bearer realm = "a" , Service=b, Basic realm="c", Negotiate`: {
			bearer(map[string]string{"realm": "a", "service": "b"}), {Scheme: "Basic", Parameters: map[string]string{"realm": "c"}}, {Scheme: "Negotiate"},
		},
		`Negotiate, Basic realm="c"`: {{Scheme: "Negotiate"}, {Scheme: "Basic", Parameters: map[string]string{"realm": "c"}}},
	} {
		if got, err := ParseChallenges([]string{s}); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v", s, got, err)
		}
	}
	two, err := ParseChallenges([]string{"Negotiate", "Basic realm=x"})
	if err != nil || len(two) != 2 || wants([]string{"Negotiate", "bearer realm=x"}) != "Negotiate or Bearer" {
		t.Errorf("%+v, %v", two, err)
	}
	for _, s := range []string{
		`"x"`, `Bearer realm="x`, `Bearer realm=,a=b`, `Bearer a=b,realm=`, `Bearer realm="a" service="b"`, `Bearer realm=a,realm=b`, `=`, `a =`, `a ==`, `Bearer"x"`, `Bearer realm="\`,
		strings.Repeat("a,", maxChallenges+1), strings.Repeat("a", maxChallengeBytes+1), "Bearer realm=https://unquoted",
		"Bearer " + strings.Repeat("a", maxChallengeParams) + "0=x" + manyParams(maxChallengeParams+1),
	} {
		if got, err := ParseChallenges([]string{s}); !errors.Is(err, ErrChallenge) {
			t.Errorf("%.80q: %+v, %v", s, got, err)
		}
	}
}

func manyParams(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(",p" + strings.Repeat("a", i) + "=1")
	}
	return b.String()
}

func FuzzParseChallenges(f *testing.F) {
	for _, s := range []string{`Bearer realm="https://a/t",service="s",scope="repository:a:pull,push"`, `Basic realm="x", Negotiate abc==`, `Bearer realm="\`, `a b=c,d e=f`, ",,a", "a =", "a b==,c"} {
		f.Add(s, "")
	}
	f.Fuzz(func(t *testing.T, one, other string) {
		all, err := ParseChallenges([]string{one, other})
		if err != nil {
			if !errors.Is(err, ErrChallenge) || all != nil {
				t.Fatalf("%v with %+v", err, all)
			}
			return
		}
		if len(all) > maxChallenges {
			t.Fatalf("%d challenges", len(all))
		}
		// What was understood, written anew in one line, is understood the same.
		again, err := ParseChallenges([]string{write(all)})
		if err != nil || !reflect.DeepEqual(again, all) {
			t.Fatalf("%q, %q: %+v, then %+v, %v", one, other, all, again, err)
		}
	})
}

func write(all []Challenge) string {
	parts := make([]string, 0, len(all))
	for _, c := range all {
		one := c.Scheme + " " + c.Token
		for i, name := range sortedKeys(c.Parameters) {
			if i > 0 {
				one += ","
			}
			one += name + `="` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(c.Parameters[name]) + `"`
		}
		parts = append(parts, one)
	}
	return strings.Join(parts, ", ")
}

func FuzzExpiry(f *testing.F) {
	for _, s := range []string{
		"X-Amz-Date=20250101T000000Z&X-Amz-Expires=300", "X-Goog-Date=20250101T000000Z&X-Goog-Expires=99999999999", "Expires=1735689700", "se=2025-01-01T00%3A10%3A00Z",
		"se=2025-01-01", "expires=1&Expires=2", "%zz", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		now := time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)
		u := &url.URL{Scheme: "https", Host: "cdn.example", RawQuery: query}
		end := expiry(u, now)
		if end.After(now.Add(longestLife)) {
			t.Fatalf("%q lives until %s", query, end)
		}
		if !end.Equal(expiry(u, now)) {
			t.Fatalf("%q has no one end", query)
		}
	})
}
