package wire

import (
	"errors"
	"fmt"
	"io"
)

// A Reader is what frames are read from: a *bufio.Reader, most often.
type Reader interface {
	io.Reader
	io.ByteReader
}

// growth is how much is allocated ahead of the bytes that have come: a length alone costs
// its sender nothing and must not cost its reader more.
const growth = 64 << 10

// ReadFrame reads one frame and returns its payload, of 1 to limit bytes. It uses buf, from
// its beginning, as far as that is large enough, and else allocates.
//
// It returns io.EOF if r ends before the frame begins and io.ErrUnexpectedEOF if r ends inside
// it; an error that wraps ErrMalformed for a length out of range; and r's errors as they are.
func ReadFrame(r Reader, limit int, buf []byte) ([]byte, error) {
	n, err := readLength(r, limit)
	if err != nil {
		return nil, err
	}
	payload := buf[:min(n, cap(buf))]
	for have := 0; ; {
		if _, err := io.ReadFull(r, payload[have:]); err != nil {
			return nil, inside(err)
		}
		if have = len(payload); have == n {
			return payload, nil
		}
		longer := make([]byte, min(n, max(2*have, growth)))
		copy(longer, payload)
		payload = longer
	}
}

// readLength reads a varint in its shortest form.
func readLength(r io.ByteReader, limit int) (int, error) {
	n := 0
	for shift := 0; ; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			if shift > 0 {
				err = inside(err)
			}
			return 0, err
		}
		n |= int(b&0x7f) << shift
		if b == 0 || n > limit {
			return 0, fmt.Errorf("%w: length of a frame is out of range", ErrMalformed)
		}
		if b < 0x80 {
			return n, nil
		}
		if shift == 21 { // four bytes hold any limit there is
			return 0, fmt.Errorf("%w: length of a frame does not end", ErrMalformed)
		}
	}
}

// inside turns the end of the stream into what it is in the middle of a frame.
func inside(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
