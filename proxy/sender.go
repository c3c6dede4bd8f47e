package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

const (
	// piece is how much goes out under one write deadline.
	piece = 1 * blob.MiB
	// copyBuffer is how much is read at once where sendfile does not apply.
	copyBuffer = 128 * blob.KiB
)

// errLeft means that the client does not take the body any more.
var errLeft = errors.New("client left")

// A sender writes one body of a known length. It is used by one goroutine.
type sender struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	stall time.Duration
	buf   []byte
	// status and header go out with the first byte, or with start.
	status  int
	header  func(http.Header)
	started bool
	sent    blob.ByteCount
}

func (p *Proxy) newSender(w http.ResponseWriter, status int, header func(http.Header)) *sender {
	return &sender{
		w: w, rc: http.NewResponseController(w), stall: p.config.WriteStall, status: status, header: header,
	}
}

// start sends the headers, unless they went out already. After it, failing is expensive.
func (s *sender) start() {
	if s.started {
		return
	}
	s.started = true
	s.header(s.w.Header())
	s.w.WriteHeader(s.status)
}

// flush pushes out what net/http still holds.
func (s *sender) flush() error {
	s.deadline()
	if err := s.rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return fmt.Errorf("%w: %w", errLeft, err)
	}
	return nil
}

// deadline gives the client time for the next piece. A writer without deadlines has none.
func (s *sender) deadline() { _ = s.rc.SetWriteDeadline(time.Now().Add(s.stall)) }

// copyAt sends the bytes [off, end) of r.
func (s *sender) copyAt(r io.ReaderAt, off, end blob.ByteCount) error {
	return s.copyReader(io.NewSectionReader(r, int64(off), int64(end-off)), end-off)
}

// copyReader sends exactly n bytes of r. An r that ends early is an error.
func (s *sender) copyReader(r io.Reader, n blob.ByteCount) error {
	if s.buf == nil {
		s.buf = make([]byte, copyBuffer)
	}
	for n > 0 {
		got, err := io.ReadAtLeast(r, s.buf[:min(n, copyBuffer)], 1)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read body: %w", err)
		}
		if err := s.write(s.buf[:got]); err != nil {
			return err
		}
		n -= blob.ByteCount(got)
	}
	return nil
}

// write sends p, and the headers before it.
func (s *sender) write(p []byte) error {
	s.start()
	s.deadline()
	n, err := s.w.Write(p)
	s.sent += blob.ByteCount(n)
	if err != nil {
		return fmt.Errorf("%w: %w", errLeft, err)
	}
	return nil
}

// copyFile sends the bytes [off, end) of f, with sendfile where the connection allows it.
func (s *sender) copyFile(f *os.File, off, end blob.ByteCount) error {
	if _, err := f.Seek(int64(off), io.SeekStart); err != nil {
		return fmt.Errorf("seek in blob: %w", err)
	}
	s.start()
	for off < end {
		s.deadline()
		n, err := io.CopyN(s.w, f, int64(min(piece, end-off)))
		s.sent += blob.ByteCount(n)
		off += blob.ByteCount(n)
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("blob file is short: %w", io.ErrUnexpectedEOF)
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errLeft, err) // or the disk failed; the body ends either way
		}
	}
	return nil
}
