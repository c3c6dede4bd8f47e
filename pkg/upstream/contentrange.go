package upstream

import (
	"math"
	"strings"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A ContentRange is what a 206 answer says it carries (RFC 9110, section 14.4). First
// and Last are inclusive; Total is the size of the whole.
type ContentRange struct {
	First, Last, Total blob.ByteCount
}

// ParseContentRange reads "bytes FIRST-LAST/TOTAL". Other units, unknown totals and
// ranges that do not lie inside the total are not ok.
func ParseContentRange(s string) (_ ContentRange, ok bool) {
	unit, rest, found := strings.Cut(s, " ")
	if !found || !strings.EqualFold(unit, "bytes") {
		return ContentRange{}, false
	}
	span, total, found := strings.Cut(rest, "/")
	if !found {
		return ContentRange{}, false
	}
	first, last, found := strings.Cut(span, "-")
	if !found {
		return ContentRange{}, false
	}
	var r ContentRange
	for _, field := range []struct {
		to   *blob.ByteCount
		from string
	}{{&r.First, first}, {&r.Last, last}, {&r.Total, total}} {
		if *field.to, ok = parseDecimal(field.from); !ok {
			return ContentRange{}, false
		}
	}
	if r.First > r.Last || r.Last >= r.Total {
		return ContentRange{}, false
	}
	return r, true
}

// parseDecimal reads digits only: no sign, no space.
func parseDecimal(s string) (blob.ByteCount, bool) {
	if s == "" {
		return 0, false
	}
	var n blob.ByteCount
	for i := range len(s) {
		if !isDigit(s[i]) {
			return 0, false
		}
		digit := blob.ByteCount(s[i] - '0')
		if n > (math.MaxInt64-digit)/10 {
			return 0, false
		}
		n = 10*n + digit
	}
	return n, true
}
