package wire

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

func TestReadFrame(t *testing.T) {
	long := bytes.Repeat([]byte("shoal"), 100_000)
	head := []byte{0xa0, 0xc2, 0x1e} // 500,000
	for _, buf := range [][]byte{nil, make([]byte, 0, 10), make([]byte, 300), make([]byte, 600_000)} {
		r := bufio.NewReader(iotest.HalfReader(io.MultiReader(
			bytes.NewReader([]byte{3, 1, 2, 3}), bytes.NewReader(head), bytes.NewReader(long), bytes.NewReader([]byte{1, 9}))))
		for _, want := range [][]byte{{1, 2, 3}, long, {9}} {
			got, err := ReadFrame(r, len(long), buf)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("buffer of %d: %d bytes, %v; want %d", cap(buf), len(got), err, len(want))
			}
			if inBuf := cap(buf) > 0 && &got[0] == &buf[:1][0]; inBuf != (cap(buf) >= len(want)) {
				t.Errorf("buffer of %d for %d bytes: used %t", cap(buf), len(want), inBuf)
			}
		}
	}
}

func TestReadFrameRefuses(t *testing.T) {
	for what, raw := range map[string][]byte{
		"an empty frame":          {0},
		"one byte too many":       {11, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11},
		"a long length":           {0x83, 0x00, 1, 2, 3},
		"a longer length":         {0x80, 0x80, 0x00},
		"an endless length":       {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1},
		"a length of 28 bits":     {0xff, 0xff, 0xff, 0x7f},
		"a length beyond 64 bits": {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
	} {
		if p, err := ReadFrame(bytes.NewReader(raw), 10, nil); !errors.Is(err, ErrMalformed) || p != nil {
			t.Errorf("%s: %x, %v", what, p, err)
		}
	}
}

func TestReadFrameEnds(t *testing.T) {
	broken := errors.New("broken")
	whole := make([]byte, 2+130)
	copy(whole, []byte{0x82, 0x01})
	for cut := range whole {
		want := io.ErrUnexpectedEOF
		if cut == 0 {
			want = io.EOF
		}
		if _, err := ReadFrame(bytes.NewReader(whole[:cut]), 200, nil); err != want { //nolint:errorlint // these very values are promised
			t.Errorf("after %d bytes: %v, want %v", cut, err, want)
		}
		r := bufio.NewReader(io.MultiReader(bytes.NewReader(whole[:cut]), iotest.ErrReader(broken)))
		if _, err := ReadFrame(r, 200, nil); !errors.Is(err, broken) {
			t.Errorf("error after %d bytes: %v", cut, err)
		}
	}
}

// A claimed length is not believed before the bytes are there.
func TestReadFrameAllocatesWhatCame(t *testing.T) {
	head := []byte{0x80, 0x80, 0x80, 0x01}              // 2 MiB
	allocated := testing.Benchmark(func(b *testing.B) { //nolint:thelper // not a helper: it measures
		b.ReportAllocs()
		for b.Loop() {
			_, _ = ReadFrame(bytes.NewReader(head), 1<<21, nil)
		}
	})
	if allocated.AllocedBytesPerOp() > 2*growth {
		t.Errorf("%d bytes allocated for a frame that never came", allocated.AllocedBytesPerOp())
	}
	if _, err := ReadFrame(bytes.NewReader(head), 1<<21, nil); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a frame that never came: %v", err)
	}
}
