package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dustin/go-humanize"

	"github.com/shoal-project/shoal/pkg/blob"
)

const (
	// wordMax and sentenceMax bound, in characters, what others may put on the screen.
	wordMax     = 128
	sentenceMax = 1024
)

// clean makes text that came from elsewhere safe for a terminal: anything but plain
// ASCII is written as Go would escape it, and the end of a long text is left out.
func clean(s string, limit int) string {
	var b strings.Builder
	for n := 0; len(s) > 0; n++ {
		if n == limit {
			b.WriteString("...")
			break
		}
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case ' ' <= r && r <= '~':
			b.WriteRune(r)
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		s = s[size:]
	}
	return b.String()
}

// bytesText is a size for people, as in 1.2 GiB.
func bytesText(n blob.ByteCount) string { return humanize.IBytes(uint64(max(0, n))) }

// rateText is a rate for people; nothing moving is a dash.
func rateText(perSecond int64) string {
	if perSecond <= 0 {
		return "-"
	}
	return bytesText(blob.ByteCount(perSecond)) + "/s"
}

// sizeCell, rateCell and timeCell are right-aligned, and as wide as their values ever
// get, so that a table that is drawn again and again stands still.
func sizeCell(s string) string { return fmt.Sprintf("%8s", s) }

func rateCell(s string) string { return fmt.Sprintf("%10s", s) }

func timeCell(s string) string { return fmt.Sprintf("%6s", s) }

// durationText is a duration for people: its two largest units.
func durationText(d time.Duration) string {
	if d < 0 {
		d = 0
	}
	days, hours := int(d/(24*time.Hour)), int(d/time.Hour)%24
	minutes, seconds := int(d/time.Minute)%60, int(d/time.Second)%60
	switch {
	case days > 0:
		return fmt.Sprintf("%dd%02dh", days, hours)
	case hours > 0:
		return fmt.Sprintf("%dh%02dm", hours, minutes)
	case minutes > 0:
		return fmt.Sprintf("%dm%02ds", minutes, seconds)
	default:
		return fmt.Sprintf("%ds", seconds)
	}
}

// agoText is how long before now a moment was; the zero time is never.
func agoText(now, then time.Time) string {
	if then.IsZero() {
		return "never"
	}
	return durationText(now.Sub(then)) + " ago"
}

// orDash shows what is not known.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// plural is a count with its noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return humanize.Comma(int64(n)) + " " + noun + "s"
}
