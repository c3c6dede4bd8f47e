package wire

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A kind is a field of Frame: which message it is.
type kind int32

const (
	helloField kind = iota + 1
	haveField
	askField
	cancelField
	chunkField
	busyField
	chainField
	peersField
	readingField
)

// Append appends m to b as a frame. It refuses, with b as it was and an error that wraps
// ErrMalformed, what the other side would refuse.
func Append(b []byte, m Message, g blob.Geometry) ([]byte, error) {
	if err := Check(m, g); err != nil {
		return b, err
	}
	body := bodyOf(m)
	size := body.size()
	b = protowire.AppendVarint(b, uint64(protowire.SizeTag(protowire.Number(body.field))+protowire.SizeBytes(size)))
	b = protowire.AppendTag(b, protowire.Number(body.field), protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	return body.append(b), nil
}

// A body is the inside of a message that is about to be written: the field of Frame that it
// is, and its own fields. Lengths precede what they count, so it is measured first.
type body struct {
	field  kind
	size   func() int
	append func([]byte) []byte
}

func bodyOf(m Message) body {
	switch m := m.(type) {
	case Hello:
		return body{
			helloField,
			func() int { return 1 + protowire.SizeBytes(len(m.Blob)) + uintSize(uint64(m.Size)) },
			func(b []byte) []byte { return appendUint(appendBytes(b, 1, m.Blob[:]), 2, uint64(m.Size)) },
		}
	case Have:
		return haveBody(m)
	case Ask:
		return indexBody(askField, m.Chunk)
	case Cancel:
		return indexBody(cancelField, m.Chunk)
	case Chunk:
		return body{
			chunkField,
			func() int { return uintSize(uint64(m.Chunk)) + uintSize(uint64(m.Length)) },
			func(b []byte) []byte { return appendUint(appendUint(b, 1, uint64(m.Chunk)), 2, uint64(m.Length)) },
		}
	case Busy:
		return indexBody(busyField, m.Chunk)
	case Chain:
		return chainBody(m)
	case Peers:
		return peersBody(m)
	case Reading:
		return readingBody(m)
	}
	panic("wire: a message of an unknown kind")
}

func indexBody(field kind, i blob.ChunkIndex) body {
	return body{
		field,
		func() int { return uintSize(uint64(i)) },
		func(b []byte) []byte { return appendUint(b, 1, uint64(i)) },
	}
}

func chainBody(m Chain) body {
	n := len(m.Inner) * stateSize
	return body{
		chainField,
		func() int { return optionalSize(n) },
		func(b []byte) []byte {
			if n == 0 {
				return b
			}
			b = protowire.AppendTag(b, 1, protowire.BytesType)
			b = protowire.AppendVarint(b, uint64(n))
			for i := range m.Inner {
				b = append(b, m.Inner[i][:]...)
			}
			return b
		},
	}
}

func peersBody(m Peers) body {
	return body{
		peersField,
		func() int {
			n := 0
			for _, c := range m.Contacts {
				n += 1 + protowire.SizeBytes(contactSize(c))
			}
			return n
		},
		func(b []byte) []byte {
			for _, c := range m.Contacts {
				b = protowire.AppendTag(b, 1, protowire.BytesType)
				b = protowire.AppendVarint(b, uint64(contactSize(c)))
				b = protowire.AppendTag(b, 1, protowire.BytesType)
				b = protowire.AppendString(b, c.Peer)
				for _, a := range c.Addresses {
					b = appendBytes(b, 2, a)
				}
			}
			return b
		},
	}
}

func contactSize(c Contact) int {
	n := 1 + protowire.SizeBytes(len(c.Peer))
	for _, a := range c.Addresses {
		n += 1 + protowire.SizeBytes(len(a))
	}
	return n
}

func appendBytes(b []byte, field protowire.Number, p []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), p)
}

// optionalSize is the size of a bytes field that is left out when it is empty.
func optionalSize(n int) int {
	if n == 0 {
		return 0
	}
	return 1 + protowire.SizeBytes(n)
}

// appendUint writes a number, unless it is zero. Fields have numbers below 16: a tag is one byte.
func appendUint(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func uintSize(v uint64) int {
	if v == 0 {
		return 0
	}
	return 1 + protowire.SizeVarint(v)
}
