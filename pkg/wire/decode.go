package wire

import (
	"bytes"

	"github.com/shoal-project/shoal/pkg/blob"
	"github.com/shoal-project/shoal/pkg/chain"
)

// Decode reads the payload of one frame about a blob of this geometry. The first frame of a
// session is decoded under the zero Geometry and is expected to be a Hello. Errors wrap
// ErrMalformed. The message shares nothing with the payload.
func Decode(payload []byte, g blob.Geometry) (Message, error) {
	if len(payload) > MaxFrame(g) {
		return nil, malformed("%d bytes, at most %d", len(payload), MaxFrame(g))
	}
	frame := parser{rest: payload}
	field, inside := frame.anyBytes()
	if frame.bad || len(frame.rest) > 0 {
		return nil, malformed("not one message in its frame")
	}
	p := parser{rest: inside}
	m, err := decodeBody(kind(field), &p, g)
	if err != nil {
		return nil, err
	}
	if p.bad || len(p.rest) > 0 {
		return nil, malformed("fields that do not belong into message %d", field)
	}
	if err := Check(m, g); err != nil {
		return nil, err
	}
	return m, nil
}

// decodeBody takes the fields of one message; what it leaves does not belong there.
func decodeBody(field kind, p *parser, g blob.Geometry) (Message, error) {
	switch field {
	case helloField:
		return decodeHello(p)
	case haveField:
		return decodeHave(p, g)
	case askField:
		return Ask{Chunk: p.index()}, nil
	case cancelField:
		return Cancel{Chunk: p.index()}, nil
	case chunkField:
		return Chunk{Chunk: p.index(), Length: blob.ByteCount(p.uint(2, uint64(MaxPiece)))}, nil
	case busyField:
		return Busy{Chunk: p.index()}, nil
	case chainField:
		return decodeChain(p, g)
	case peersField:
		return decodePeers(p)
	case readingField:
		return decodeReading(p)
	default:
		return nil, malformed("unknown message %d", field)
	}
}

func decodeHello(p *parser) (Message, error) {
	digest, ok := p.bytes(1)
	if !ok || len(digest) != len(blob.Digest{}) {
		return nil, malformed("hello: digest of %d bytes", len(digest))
	}
	return Hello{Blob: blob.Digest(digest), Size: blob.ByteCount(p.uint(2, uint64(blob.MaxSize)))}, nil
}

func decodeChain(p *parser, g blob.Geometry) (Message, error) {
	raw, ok := p.bytes(1)
	if len(raw) != innerSize(g) || ok == (len(raw) == 0) {
		return nil, malformed("chain: %d bytes for %d chunks", len(raw), g.Chunks())
	}
	var inner []chain.State
	if ok {
		inner = make([]chain.State, len(raw)/stateSize)
		for i := range inner {
			inner[i] = chain.State(raw[i*stateSize:])
		}
	}
	return Chain{Inner: inner}, nil
}

func decodePeers(p *parser) (Message, error) {
	var m Peers
	for {
		raw, ok := p.bytes(1)
		if !ok {
			return m, nil
		}
		if len(m.Contacts) == MaxContacts {
			return nil, malformed("peers: more than %d contacts", MaxContacts)
		}
		c, err := decodeContact(parser{rest: raw})
		if err != nil {
			return nil, err
		}
		m.Contacts = append(m.Contacts, c)
	}
}

func decodeContact(p parser) (Contact, error) {
	id, _ := p.bytes(1)
	c := Contact{Peer: string(id)}
	for {
		raw, ok := p.bytes(2)
		if !ok {
			break
		}
		if len(c.Addresses) == MaxAddresses {
			return Contact{}, malformed("peers: more than %d addresses of one peer", MaxAddresses)
		}
		c.Addresses = append(c.Addresses, bytes.Clone(raw))
	}
	if p.bad || len(p.rest) > 0 {
		return Contact{}, malformed("peers: fields that do not belong into a contact")
	}
	return c, nil // Check has the rest
}
