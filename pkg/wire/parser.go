package wire

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A parser takes fields off the front of a message, in the order in which they must come. It
// accepts only the shortest form of each number. Once something was wrong it is bad for good
// and returns nothing more; what it never took is left in rest.
type parser struct {
	rest []byte
	bad  bool
}

// bytes takes the bytes field of that number, if it is next.
func (p *parser) bytes(field protowire.Number) ([]byte, bool) {
	if !p.next(field, protowire.BytesType) {
		return nil, false
	}
	return p.lengthed(), !p.bad
}

// anyBytes takes a bytes field, whichever it is.
func (p *parser) anyBytes() (protowire.Number, []byte) {
	field, form := protowire.DecodeTag(p.varint())
	if p.bad || form != protowire.BytesType || field < protowire.MinValidNumber {
		p.bad = true
		return 0, nil
	}
	return field, p.lengthed()
}

// uint takes the varint field of that number, if it is next; otherwise the number is zero.
// Zero written out is bad, and so is more than most.
func (p *parser) uint(field protowire.Number, most uint64) uint64 {
	if !p.next(field, protowire.VarintType) {
		return 0
	}
	v := p.varint()
	if v == 0 || v > most {
		p.bad = true
		return 0
	}
	return v
}

// index takes a chunk index, the first field wherever there is one. Check bounds it.
func (p *parser) index() blob.ChunkIndex {
	return blob.ChunkIndex(p.uint(1, 1<<31-1))
}

// count takes a number of chunks, the second field where there is one. Check bounds it.
func (p *parser) count() blob.ChunkIndex {
	return blob.ChunkIndex(p.uint(2, 1<<31-1))
}

// next takes the tag of the field if it is next. Such tags are one byte.
func (p *parser) next(field protowire.Number, form protowire.Type) bool {
	if p.bad || len(p.rest) == 0 || uint64(p.rest[0]) != protowire.EncodeTag(field, form) {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

// lengthed takes a length and as many bytes.
func (p *parser) lengthed() []byte {
	n := p.varint()
	if p.bad || n > uint64(len(p.rest)) {
		p.bad = true
		return nil
	}
	taken := p.rest[:n]
	p.rest = p.rest[n:]
	return taken
}

// varint takes a varint in its shortest form.
func (p *parser) varint() uint64 {
	v, n := protowire.ConsumeVarint(p.rest)
	if p.bad || n < 0 || n != protowire.SizeVarint(v) {
		p.bad = true
		return 0
	}
	p.rest = p.rest[n:]
	return v
}
