package main

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/shoal-project/shoal/pkg/admin"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain text ~":          "plain text ~",
		"\x1b]0;title\x07":      `\x1b]0;title\a`,
		"a\nb\tc\r":             `a\nb\tc\r`,
		"z\u00f6ne\u202e":       `z\u00f6ne\u202e`,
		"\xff\xfe":              `\xff\xfe`,
		"\u009b2J":              `\u009b2J`,
		strings.Repeat("x", 11): "xxxxxxxxxx...",
	} {
		limit := 10
		if len(in) != 11 {
			limit = 100
		}
		if got := clean(in, limit); got != want {
			t.Errorf("clean(%q) = %s, want %s", in, got, want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("\x1b[2J\u202e\xff")
	f.Fuzz(func(t *testing.T, s string) {
		for _, b := range []byte(clean(s, 50)) {
			if b < ' ' || b > '~' {
				t.Fatalf("%#x comes through in %q", b, s)
			}
		}
	})
}

func TestDurationText(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0s": -time.Second, "59s": 59*time.Second + 900*time.Millisecond, "2m05s": 125 * time.Second, "3h00m": 3 * time.Hour, "10d01h": 241 * time.Hour,
	} {
		if got := durationText(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
	if got := agoText(noon, time.Time{}); got != "never" {
		t.Errorf("the zero time: %s", got)
	}
}

func TestBarsAreExactlyAsWideAsAsked(t *testing.T) {
	for _, l := range []look{{}, {blocks: true}} {
		for percent := 0.0; percent <= 100; percent += 0.25 {
			for width := barMin; width <= barMax; width++ {
				b := l.bar(percent, width)
				if utf8.RuneCountInString(b) != width {
					t.Fatalf("%v %% in %d columns: %q", percent, width, b)
				}
				if full := strings.Count(b, "#")+strings.Count(b, "█") == width-2; full != (percent == 100) {
					t.Fatalf("%v %%: %q", percent, b)
				}
			}
		}
	}
	if b := (look{}).bar(50, barMin-1); b != "" {
		t.Errorf("too narrow: %q", b)
	}
}

func TestNarrowScreensLoseTheLeastImportantColumns(t *testing.T) {
	src := &fakeSource{now: func() time.Time { return noon }}
	status, err := src.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	peers, err := src.Peers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for width := 72; width < 200; width++ {
		p := &page{look: look{width: width, cut: true}}
		drawDownloads(p, status)
		drawPeers(p, admin.PeerList{Time: noon, Peers: peers, Total: 5})
		for _, l := range p.lines {
			if n := utf8.RuneCountInString(l.text); n > width {
				t.Fatalf("%d columns on a screen of %d: %q", n, width, l.text)
			}
		}
		text := p.lines[len(p.lines)-1].text
		if text != "2 of 5 peers" {
			t.Fatalf("the last line is %q", text)
		}
	}
}

func TestLeftText(t *testing.T) {
	for want, d := range map[string]admin.Download{
		"-":       {Size: 100, Have: 50},
		"5s":      {Size: 100, Have: 50, RegistryRate: 4, PeersRate: 6},
		"100d00h": {Size: 1 << 40, PeersRate: 1},
	} {
		if got := leftText(d); got != want {
			t.Errorf("%+v: %s, want %s", d, got, want)
		}
	}
}
