package wire

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/shoal-project/shoal/pkg/blob"
)

// MaxSpans bounds the spans of one Reading.
const MaxSpans = 4

func checkReading(m Reading, g blob.Geometry) error {
	if len(m.Spans) > MaxSpans {
		return malformed("%d spans, at most %d", len(m.Spans), MaxSpans)
	}
	next := blob.ChunkIndex(0)
	for _, s := range m.Spans {
		if s.First < next || s.Count < 1 || !g.Valid(s.First) || s.Count > g.Chunks()-s.First {
			return malformed("span of %d chunks from %d, after %d of %d", s.Count, s.First, next, g.Chunks())
		}
		next = s.First + s.Count
	}
	return nil
}

func readingBody(m Reading) body {
	return body{
		readingField,
		func() int {
			n := 0
			for _, s := range m.Spans {
				n += 1 + protowire.SizeBytes(spanSize(s))
			}
			return n
		},
		func(b []byte) []byte {
			for _, s := range m.Spans {
				b = protowire.AppendTag(b, 1, protowire.BytesType)
				b = protowire.AppendVarint(b, uint64(spanSize(s)))
				b = appendUint(appendUint(b, 1, uint64(s.First)), 2, uint64(s.Count))
			}
			return b
		},
	}
}

func spanSize(s Span) int { return uintSize(uint64(s.First)) + uintSize(uint64(s.Count)) }

func decodeReading(p *parser) (Message, error) {
	var m Reading
	for {
		raw, ok := p.bytes(1)
		if !ok {
			return m, nil
		}
		if len(m.Spans) == MaxSpans {
			return nil, malformed("reading: more than %d spans", MaxSpans)
		}
		inside := parser{rest: raw}
		s := Span{First: inside.index(), Count: inside.count()}
		if inside.bad || len(inside.rest) > 0 {
			return nil, malformed("reading: fields that do not belong into a span")
		}
		m.Spans = append(m.Spans, s)
	}
}
