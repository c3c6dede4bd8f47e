package resolve

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A message is a protobuf with its length in front, as a uvarint. Fields come once each, in
// ascending order, and are absent when they are zero.
const (
	fieldRegistry   = 1
	fieldRepository = 2
	fieldReference  = 3

	fieldFound     = 1
	fieldDigest    = 2
	fieldMediaType = 3
	fieldPublic    = 4
	fieldAge       = 5
	fieldManifest  = 6
)

const (
	// fieldOverhead is more than the tags and lengths of a message's fields take.
	fieldOverhead = 64
	maxQuestion   = MaxRegistry + MaxRepository + MaxReference + fieldOverhead
	maxAnswer     = len(blob.Digest{}) + MaxMediaType + MaxManifest + fieldOverhead
)

func appendText(b []byte, field protowire.Number, text string) []byte {
	if text == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), text)
}

func appendNumber(b []byte, field protowire.Number, n uint64) []byte {
	if n == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), n)
}

func encodeQuestion(q Question) []byte {
	b := appendText(nil, fieldRegistry, q.Registry)
	b = appendText(b, fieldRepository, q.Repository)
	return appendText(b, fieldReference, q.Reference)
}

func decodeQuestion(b []byte) (Question, error) {
	var q Question
	err := eachField(b, func(field protowire.Number, text []byte, _ uint64) error {
		switch {
		case text == nil:
			return errField
		case field == fieldRegistry:
			q.Registry = string(text)
		case field == fieldRepository:
			q.Repository = string(text)
		case field == fieldReference:
			q.Reference = string(text)
		default:
			return errField
		}
		return nil
	})
	if err != nil {
		return Question{}, err
	}
	return q, q.Validate()
}

func encodeAnswer(a Answer) []byte {
	b := make([]byte, 0, len(a.Manifest)+len(a.MediaType)+len(a.Digest)+fieldOverhead)
	b = appendNumber(b, fieldFound, protowire.EncodeBool(a.Found))
	if !a.Digest.IsZero() {
		b = protowire.AppendBytes(protowire.AppendTag(b, fieldDigest, protowire.BytesType), a.Digest[:])
	}
	b = appendText(b, fieldMediaType, a.MediaType)
	b = appendNumber(b, fieldPublic, protowire.EncodeBool(a.Public))
	b = appendNumber(b, fieldAge, uint64(a.Age/time.Second))
	if len(a.Manifest) > 0 {
		b = protowire.AppendBytes(protowire.AppendTag(b, fieldManifest, protowire.BytesType), a.Manifest)
	}
	return b
}

// decodeAnswer returns an answer whose manifest shares memory with b.
func decodeAnswer(b []byte) (Answer, error) {
	var a Answer
	err := eachField(b, func(field protowire.Number, text []byte, n uint64) error {
		isText := field == fieldDigest || field == fieldMediaType || field == fieldManifest
		if isText != (text != nil) {
			return errField
		}
		switch int32(field) {
		case fieldFound:
			a.Found = n == 1
			return isBool(n)
		case fieldDigest:
			if copy(a.Digest[:], text) != len(text) || len(text) != len(a.Digest) {
				return errField
			}
		case fieldMediaType:
			a.MediaType = string(text)
		case fieldPublic:
			a.Public = n == 1
			return isBool(n)
		case fieldAge:
			if n > uint64(MaxAge/time.Second) {
				return errField
			}
			a.Age = time.Duration(n) * time.Second
		case fieldManifest:
			a.Manifest = text
		default:
			return errField
		}
		return nil
	})
	if err != nil {
		return Answer{}, err
	}
	return a, a.Validate()
}

var errField = fmt.Errorf("%w: unexpected field", ErrMalformed)

func isBool(n uint64) error {
	if n != 1 {
		return errField
	}
	return nil
}

// eachField calls take with each field: text is not nil for bytes, and nil for a number, n.
func eachField(b []byte, take func(field protowire.Number, text []byte, n uint64) error) error {
	last := protowire.Number(0)
	for len(b) > 0 {
		field, kind, size := protowire.ConsumeTag(b)
		if size < 0 || field <= last || kind != protowire.BytesType && kind != protowire.VarintType {
			return errField
		}
		last, b = field, b[size:]
		var text []byte
		var n uint64
		if kind == protowire.BytesType {
			text, size = protowire.ConsumeBytes(b)
		} else {
			n, size = protowire.ConsumeVarint(b)
		}
		if size < 0 || len(text) == 0 && n == 0 {
			return errField
		}
		if err := take(field, text, n); err != nil {
			return err
		}
		b = b[size:]
	}
	return nil
}

func writeMessage(w io.Writer, message []byte) error {
	_, err := w.Write(append(binary.AppendUvarint(make([]byte, 0, len(message)+binary.MaxVarintLen32), uint64(len(message))), message...))
	return err
}

// readMessage reads one message of at most limit bytes. Memory grows with what arrives, not
// with what the other side says will.
func readMessage(r io.Reader, limit int) ([]byte, error) {
	in := bufio.NewReader(r)
	size, err := binary.ReadUvarint(in)
	if err != nil {
		return nil, fmt.Errorf("read the length of a message: %w", err)
	}
	if size > uint64(limit) {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrMalformed, size, limit)
	}
	message, err := io.ReadAll(io.LimitReader(in, int64(size)))
	if err == nil && len(message) < int(size) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, fmt.Errorf("read a message: %w", err)
	}
	return message, nil
}
