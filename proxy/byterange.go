package proxy

import (
	"errors"
	"strconv"
	"strings"

	"github.com/shoal-project/shoal/pkg/blob"
)

// maxSpans is how many ranges one request may name; with more, the Range header is ignored.
const maxSpans = 64

// errUnsatisfiable means that no range of the request overlaps the blob: 416.
var errUnsatisfiable = errors.New("no requested range overlaps the blob")

// A span is the part [Off, Off+Len) of a blob; Len is above 0 unless the blob is empty.
type span struct {
	Off, Len blob.ByteCount
	// Open says that the client named no end: it reads on for as long as it likes.
	Open bool
}

// End is the offset behind the last byte.
func (s span) End() blob.ByteCount { return s.Off + s.Len }

// contentRange is the value of a Content-Range header for the span in a blob of size bytes.
func (s span) contentRange(size blob.ByteCount) string {
	return "bytes " + strconv.FormatInt(int64(s.Off), 10) + "-" + strconv.FormatInt(int64(s.End()-1), 10) +
		"/" + strconv.FormatInt(int64(size), 10)
}

// parseRange reads a Range header against a blob of size bytes. No spans and no error
// means: answer with the whole blob. That is so for an empty header, an empty blob, a unit
// other than bytes and a malformed value, which RFC 9110, section 14.2, lets a server ignore
// (clients take a 200 for a resume, but not every one takes a 400), and for a header that
// would have more bytes sent than the blob has.
func parseRange(header string, size blob.ByteCount) ([]span, error) {
	unit, list, ok := strings.Cut(header, "=")
	if !ok || !strings.EqualFold(strings.TrimSpace(unit), "bytes") || size <= 0 {
		return nil, nil
	}
	if strings.Count(list, ",") >= maxSpans {
		return nil, nil
	}
	var spans []span
	var total blob.ByteCount
	named := false
	for part := range strings.SplitSeq(list, ",") {
		part = strings.Trim(part, " \t")
		if part == "" {
			continue
		}
		s, overlaps, ok := parseSpan(part, size)
		if !ok {
			return nil, nil
		}
		named = true
		if overlaps {
			spans = append(spans, s)
			total += s.Len
		}
	}
	switch {
	case !named:
		return nil, nil
	case len(spans) == 0:
		return nil, errUnsatisfiable
	case len(spans) > 1 && total > size:
		return nil, nil
	}
	return spans, nil
}

// parseSpan reads one range of a Range header (RFC 9110, section 14.1.1). Overlaps is
// false for a range that lies past the end; ok is false for a malformed one.
func parseSpan(s string, size blob.ByteCount) (sp span, overlaps, ok bool) {
	first, last, ok := strings.Cut(s, "-")
	if !ok {
		return span{}, false, false
	}
	if first == "" {
		n, ok := parseOffset(last)
		if !ok {
			return span{}, false, false
		}
		n = min(n, size)
		return span{Off: size - n, Len: n}, n > 0, true
	}
	from, ok := parseOffset(first)
	if !ok {
		return span{}, false, false
	}
	to := size - 1
	if last != "" {
		end, ok := parseOffset(last)
		if !ok || end < from {
			return span{}, false, false
		}
		to = min(end, to)
	}
	if from >= size {
		return span{}, false, true
	}
	return span{Off: from, Len: to - from + 1, Open: last == ""}, true, true
}

// parseOffset reads a row of digits. A number that does not fit lies past any blob's end.
func parseOffset(s string) (blob.ByteCount, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 1<<62 - 1, true
	}
	return blob.ByteCount(n), true
}

// cover is the smallest span that holds all of spans, of which there is at least one.
func cover(spans []span) span {
	off, end, open := spans[0].Off, spans[0].End(), spans[0].Open
	for _, s := range spans[1:] {
		off, end = min(off, s.Off), max(end, s.End())
		open = open || s.Open
	}
	return span{Off: off, Len: end - off, Open: open}
}
