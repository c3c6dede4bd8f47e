package proxy

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/shoal-project/shoal/pkg/blob"
)

func TestParseRange(t *testing.T) {
	for _, c := range []struct {
		header string
		size   blob.ByteCount
		want   []span
		err    error
	}{
		{"bytes=0-", 10, []span{{0, 10, true}}, nil},
		{"bytes=3-", 10, []span{{3, 7, true}}, nil},
		{"Bytes = 3-", 10, []span{{3, 7, true}}, nil},
		{"bytes=0-0", 10, []span{{0, 1, false}}, nil},
		{"bytes=2-99", 10, []span{{2, 8, false}}, nil},
		{"bytes=2-99999999999999999999999", 10, []span{{2, 8, false}}, nil},
		{"bytes=-4", 10, []span{{6, 4, false}}, nil},
		{"bytes=-99", 10, []span{{0, 10, false}}, nil},
		{"bytes=0-1, ,8-9", 10, []span{{0, 2, false}, {8, 2, false}}, nil},
		{"bytes=0-1,20-30", 10, []span{{0, 2, false}}, nil},
		{"bytes=10-", 10, nil, errUnsatisfiable},
		{"bytes=99999999999999999999-", 10, nil, errUnsatisfiable},
		{"bytes=-0", 10, nil, errUnsatisfiable},
		// Ignored.
		{"", 10, nil, nil},
		{"bytes", 10, nil, nil},
		{"bytes=", 10, nil, nil},
		{"bytes=,", 10, nil, nil},
		{"items=0-1", 10, nil, nil},
		{"bytes=5-2", 10, nil, nil},
		{"bytes=a-b", 10, nil, nil},
		{"bytes=+1-2", 10, nil, nil},
		{"bytes=--1", 10, nil, nil},
		{"bytes=-", 10, nil, nil},
		{"bytes=1", 10, nil, nil},
		{"bytes=0-1,x", 10, nil, nil},
		{"bytes=0-9,0-9", 10, nil, nil}, // more than the blob
		{"bytes=0-", 0, nil, nil},
		{"bytes=" + strings.Repeat("0-0,", 64) + "0-0", 1000, nil, nil},
	} {
		got, err := parseRange(c.header, c.size)
		if !errors.Is(err, c.err) || !slices.Equal(got, c.want) {
			t.Errorf("%q of %d: %v, %v; want %v, %v", c.header, c.size, got, err, c.want, c.err)
		}
	}
}

// No header makes the proxy send bytes outside the blob, or more of them than it has.
func FuzzParseRange(f *testing.F) {
	for _, seed := range []string{"bytes=0-", "bytes=3-9,-2", "bytes=-0", "bytes=18446744073709551615-", "x=1-2"} {
		f.Add(seed, int64(10))
	}
	f.Fuzz(func(t *testing.T, header string, n int64) {
		size := blob.ByteCount(n)
		spans, err := parseRange(header, size)
		if err != nil && (!errors.Is(err, errUnsatisfiable) || spans != nil) {
			t.Fatalf("%v with %v", err, spans)
		}
		var total blob.ByteCount
		for _, s := range spans {
			if s.Off < 0 || s.Len <= 0 || s.End() > size {
				t.Fatalf("%q of %d: %+v", header, size, s)
			}
			total += s.Len
		}
		if total > max(size, 0) || len(spans) > maxSpans {
			t.Fatalf("%q of %d: %d bytes in %d spans", header, size, total, len(spans))
		}
		if len(spans) > 0 {
			if c := cover(spans); c.Off < 0 || c.Len <= 0 || c.End() > size {
				t.Fatalf("%q of %d: covered by %+v", header, size, c)
			}
		}
	})
}
