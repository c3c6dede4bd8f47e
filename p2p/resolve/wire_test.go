package resolve

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

func questions() []Question {
	return []Question{
		{"docker.io", "library/nginx", "1.27"},
		{"registry.example:5000", "a/b-c/d__e", "sha256:" + strings.Repeat("ab", 32)},
		{"[::1]:5000", "a", strings.Repeat("t", MaxReference)},
		{strings.Repeat("r", MaxRegistry), strings.Repeat("p", MaxRepository), "_"},
	}
}

func answers() []Answer {
	manifest := []byte(`{"schemaVersion":2}`)
	return []Answer{
		{},
		{Found: true, Digest: sha256.Sum256(manifest), MediaType: "application/vnd.oci.image.manifest.v1+json", Public: true, Age: 90 * time.Second, Manifest: manifest},
		{Found: true, Digest: sha256.Sum256([]byte("x"))},
		{Found: true, Digest: sha256.Sum256([]byte("x")), MediaType: strings.Repeat("m", MaxMediaType), Public: true, Age: MaxAge, Manifest: bytes.Repeat([]byte("m"), MaxManifest)},
	}
}

func TestRoundTrip(t *testing.T) {
	for _, q := range questions() {
		var b bytes.Buffer
		if err := writeMessage(&b, encodeQuestion(q)); err != nil {
			t.Fatal(err)
		}
		message, err := readMessage(&b, maxQuestion)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeQuestion(message); err != nil || got != q {
			t.Errorf("%+v: %+v, %v", q, got, err)
		}
	}
	for _, a := range answers() {
		var b bytes.Buffer
		if err := writeMessage(&b, encodeAnswer(a)); err != nil {
			t.Fatal(err)
		}
		message, err := readMessage(&b, maxAnswer)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := decodeAnswer(message); err != nil || !reflect.DeepEqual(got, a) {
			t.Errorf("%+v: %v", got.Digest, err)
		}
	}
}

func TestQuestionsRefused(t *testing.T) {
	good := questions()[0]
	for name, change := range map[string]func(*Question){
		"no registry":         func(q *Question) { q.Registry = "" },
		"registry with path":  func(q *Question) { q.Registry = "a/b" },
		"long registry":       func(q *Question) { q.Registry = strings.Repeat("a", MaxRegistry+1) },
		"no repository":       func(q *Question) { q.Repository = "" },
		"upper case":          func(q *Question) { q.Repository = "Library/x" },
		"dots":                func(q *Question) { q.Repository = "../x" },
		"empty component":     func(q *Question) { q.Repository = "a//b" },
		"long repository":     func(q *Question) { q.Repository = strings.Repeat("a", MaxRepository+1) },
		"no reference":        func(q *Question) { q.Reference = "" },
		"tag with a dash":     func(q *Question) { q.Reference = "-x" },
		"long tag":            func(q *Question) { q.Reference = strings.Repeat("a", MaxReference+1) },
		"another algorithm":   func(q *Question) { q.Reference = "sha512:" + strings.Repeat("ab", 64) },
		"short digest":        func(q *Question) { q.Reference = "sha256:ab" },
		"a control character": func(q *Question) { q.Reference = "a\nb" },
	} {
		q := good
		change(&q)
		if err := q.Validate(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := decodeQuestion(encodeQuestion(q)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s, decoded: %v", name, err)
		}
	}
}

func TestAnswersRefused(t *testing.T) {
	for name, change := range map[string]func(*Answer){
		"found without a digest": func(a *Answer) { a.Digest = [32]byte{} },
		"not found but said":     func(a *Answer) { a.Found = false },
		"too old":                func(a *Answer) { a.Age = MaxAge + time.Second },
		"long media type":        func(a *Answer) { a.MediaType = strings.Repeat("m", MaxMediaType+1) },
		"header injection":       func(a *Answer) { a.MediaType = "a/b\r\nX: y" },
		"large manifest":         func(a *Answer) { a.Manifest = make([]byte, MaxManifest+1) },
	} {
		a := answers()[1]
		change(&a)
		if err := a.Validate(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := decodeAnswer(encodeAnswer(a)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s, decoded: %v", name, err)
		}
	}
}

func TestFieldsRefused(t *testing.T) {
	text := func(field protowire.Number, s string) []byte {
		return protowire.AppendString(protowire.AppendTag(nil, field, protowire.BytesType), s)
	}
	number := func(field protowire.Number, n uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(nil, field, protowire.VarintType), n)
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	digest := text(fieldDigest, strings.Repeat("d", 32))
	for name, message := range map[string][]byte{
		"unknown field":    join(number(fieldFound, 1), digest, text(9, "x")),
		"twice":            join(number(fieldFound, 1), digest, digest),
		"out of order":     join(digest, number(fieldFound, 1)),
		"zero said":        join(number(fieldFound, 1), digest, number(fieldAge, 0)),
		"not a bool":       join(number(fieldFound, 2), digest),
		"public twice yes": join(number(fieldFound, 1), digest, number(fieldPublic, 3)),
		"short digest":     join(number(fieldFound, 1), text(fieldDigest, "d")),
		"long digest":      join(number(fieldFound, 1), text(fieldDigest, strings.Repeat("d", 33))),
		"number as text":   join(text(fieldFound, "1"), digest),
		"text as number":   join(number(fieldFound, 1), number(fieldDigest, 1)),
		"fixed32":          protowire.AppendFixed32(protowire.AppendTag(nil, fieldFound, protowire.Fixed32Type), 1),
		"age overflows":    join(number(fieldFound, 1), digest, number(fieldAge, 1<<63)),
		"cut":              digest[:9],
		"garbage":          {0xff, 0xff, 0xff},
	} {
		if a, err := decodeAnswer(message); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
	if _, err := decodeQuestion(join(text(1, "r"), number(2, 1))); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
	if _, err := decodeQuestion(join(text(1, "r"), text(2, "p"), text(3, "t"), text(4, "x"))); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
}

func TestReadMessageLimits(t *testing.T) {
	long := binary.AppendUvarint(nil, 101)
	if _, err := readMessage(bytes.NewReader(append(long, make([]byte, 101)...)), 100); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
	for _, cut := range [][]byte{nil, {0x80}, {5, 1, 2}, bytes.Repeat([]byte{0xff}, 11)} {
		if _, err := readMessage(bytes.NewReader(cut), 100); err == nil {
			t.Errorf("%x was read", cut)
		}
	}
	// A length that is never delivered costs no memory.
	if n := testing.AllocsPerRun(1, func() { _, _ = readMessage(bytes.NewReader(binary.AppendUvarint(nil, uint64(maxAnswer))), maxAnswer) }); n > 20 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzQuestion(f *testing.F) {
	for _, q := range questions() {
		f.Add(encodeQuestion(q))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := decodeQuestion(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if again, err := decodeQuestion(encodeQuestion(q)); err != nil || again != q || len(encodeQuestion(q)) > maxQuestion {
			t.Fatalf("%+v, %+v, %v", q, again, err)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	for _, a := range answers()[:3] {
		f.Add(encodeAnswer(a))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := decodeAnswer(b)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if again, err := decodeAnswer(encodeAnswer(a)); err != nil || !reflect.DeepEqual(again, a) || len(encodeAnswer(a)) > maxAnswer {
			t.Fatalf("%+v, %+v, %v", a, again, err)
		}
	})
}
