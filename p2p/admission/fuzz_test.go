package admission

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// Whatever a stranger sends in place of a frame, it is no member.
func FuzzFrame(f *testing.F) {
	s := GenerateSecret()
	var whole bytes.Buffer
	if err := writeFrame(&whole, toJoin, []Secret{s}, "somebody else"); err != nil {
		f.Fatal(err)
	}
	for _, b := range [][]byte{nil, whole.Bytes(), whole.Bytes()[:frameSize-1], make([]byte, frameSize), bytes.Repeat([]byte{0xff}, 2*frameSize)} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.NewReader(b)
		if _, err := readFrame(in, []Secret{s}, "a stranger"); err == nil || len(b) >= frameSize && !errors.Is(err, ErrOutsider) {
			t.Errorf("err = %v", err)
		}
		if read := len(b) - in.Len(); read > frameSize {
			t.Errorf("%d bytes were read", read)
		}
	})
}

// A secret's file is 64 hex digits, which come out again, or it is refused without a word of it.
func FuzzParseSecret(f *testing.F) {
	s := GenerateSecret()
	for _, text := range [][]byte{nil, s.Encode(), append(s.Encode(), '\n'), bytes.Repeat([]byte("0"), 64), bytes.Repeat([]byte("zz"), 32)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := ParseSecret(text)
		if err != nil {
			if !errors.Is(err, ErrSecret) || len(text) > 8 && strings.Contains(err.Error(), string(text)) {
				t.Errorf("err = %v", err)
			}
			return
		}
		if trimmed := bytes.TrimRight(bytes.ToLower(text), "\r\n"); !bytes.Equal(bytes.TrimSpace(got.Encode()), trimmed) {
			t.Error("another secret")
		}
	})
}
