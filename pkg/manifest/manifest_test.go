package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/shoal-project/shoal/pkg/blob"
)

// expand turns D0 ... D9 in scripts into digests, so that they stay readable.
func expand(s string) string {
	for i := range 10 {
		s = strings.ReplaceAll(s, fmt.Sprintf("D%d", i), "sha256:"+strings.Repeat(fmt.Sprint(i), 64))
	}
	return s
}

func TestParse(t *testing.T) {
	datadriven.RunTest(t, "testdata/parse", func(t *testing.T, d *datadriven.TestData) string {
		t.Helper()
		m, err := Parse([]byte(expand(d.Input)))
		if err != nil {
			if !errors.Is(err, ErrManifest) {
				t.Fatalf("%v does not wrap ErrManifest", err)
			}
			return err.Error() + "\n"
		}
		return dump(m)
	})
}

func dump(m Manifest) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q skipped=%d\n", m.Kind(), m.MediaType(), m.Skipped())
	for _, d := range m.References() {
		role := map[Role]string{Config: "config", Layer: "layer", Child: "child"}[d.Role]
		fmt.Fprintf(&b, "  %s %s %d %q", role, d.Digest.Short(), d.Size, d.MediaType)
		if d.Foreign {
			b.WriteString(" foreign")
		}
		if p := d.Platform.String(); p != "" {
			fmt.Fprintf(&b, " %s", p)
		}
		b.WriteString("\n")
	}
	for _, d := range m.Ahead() {
		fmt.Fprintf(&b, "  ahead %s\n", d.Digest.Short())
	}
	if n := len(m.Children()); n > 0 {
		fmt.Fprintf(&b, "  children %d\n", n)
	}
	return b.String()
}

func imageOf(layers int, pad string) string {
	var b strings.Builder
	b.WriteString(`{"schemaVersion":2,"config":{"digest":"` + expand("D1") + `","size":1},"layers":[`)
	for i := range layers {
		if i > 0 {
			b.WriteString(",")
		}
		fmt.Fprintf(&b, `{"digest":"sha256:%064x","size":1}`, i)
	}
	b.WriteString(`],"annotations":{"pad":"` + pad + `"}}`)
	return b.String()
}

func TestLimits(t *testing.T) {
	room := int(MaxBody) - len(imageOf(1, ""))
	for name, c := range map[string]struct {
		body string
		ok   bool
	}{
		"largest body":             {imageOf(1, strings.Repeat("x", room)), true},
		"one byte more":            {imageOf(1, strings.Repeat("x", room+1)), false},
		"most references":          {imageOf(MaxDescriptors-1, ""), true},
		"one reference more":       {imageOf(MaxDescriptors, ""), false},
		"deepest":                  {strings.Repeat(`{"a":`, maxDepth) + "1" + strings.Repeat("}", maxDepth), true},
		"one deeper":               {strings.Repeat(`{"a":`, maxDepth+1) + "1" + strings.Repeat("}", maxDepth+1), false},
		"brackets without end":     {strings.Repeat("[", int(MaxBody)), false},
		"brackets inside a string": {`{"a":"` + strings.Repeat(`[{\"`, 1000) + `"}`, true},
		"empty references":         {`{"schemaVersion":2,"manifests":[` + strings.Repeat("{},", 1_000_000) + `{}]}`, false},
		"null references":          {`{"schemaVersion":2,"manifests":[` + strings.Repeat("null,", 800_000) + `null]}`, false},
		"long media type":          {`{"mediaType":"` + strings.Repeat("a", maxText+1) + `"}`, false},
		"longest media type":       {`{"mediaType":"` + strings.Repeat("a", maxText) + `"}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse([]byte(c.body)); (err == nil) != c.ok {
				t.Errorf("Parse: %v, want ok=%v", err, c.ok)
			}
		})
	}
}

func TestMediaType(t *testing.T) {
	for body, want := range map[string]string{
		`{"schemaVersion":2,"manifests":[]}`:                               ocispec.MediaTypeImageIndex,
		`{"schemaVersion":2,"config":{},"layers":[]}`:                      ocispec.MediaTypeImageManifest,
		`{"mediaType":"application/x.own+json","layers":7}`:                "application/x.own+json",
		`{"schemaVersion":1,"fsLayers":[{}]}`:                              MediaTypeDockerSchema1,
		`{"schemaVersion":1,"fsLayers":[{}],"signatures":[{}]}`:            MediaTypeDockerSchema1Signed,
		`{"schemaVersion":2,"layers":[],"config":{},"manifests":[]}`:       "",
		`{"mediaType":"a\r\nSet-Cookie: b"}`:                               "",
		`{"mediaType":"` + MediaTypeDockerManifest + `","manifests":[{}]}`: "",
		`{"mediaType":"` + MediaTypeDockerList + `","layers":[{}]}`:        "",
		`[]`: "", `null`: "", ``: "", `{`: "", `{} {}`: "",
	} {
		if got := MediaType([]byte(body)); got != want {
			t.Errorf("MediaType(%s) = %q, want %q", body, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, layers := range []int{0, 1, 3} {
		f.Add([]byte(imageOf(layers, "")))
	}
	f.Add([]byte(expand(`{"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{"digest":"D1","size":2,"platform":{"os":"linux","architecture":"arm","variant":"v7"}}]}`)))
	f.Add([]byte(expand(`{"mediaType":"application/vnd.oci.artifact.manifest.v1+json","blobs":[{"digest":"D1","size":2},{"digest":"sha512:00","size":3}]}`)))
	f.Fuzz(func(t *testing.T, body []byte) {
		m, err := Parse(body)
		if err != nil {
			if !errors.Is(err, ErrManifest) {
				t.Fatalf("%v does not wrap ErrManifest", err)
			}
			return
		}
		if got := MediaType(body); got != m.MediaType() {
			t.Fatalf("media type %q, alone %q", m.MediaType(), got)
		}
		checkReferences(t, m)
		if want := model(t, m.Kind(), body); !equal(m.References(), want) {
			t.Fatalf("references %v, the model says %v", m.References(), want)
		}
	})
}

func checkReferences(t *testing.T, m Manifest) {
	t.Helper()
	if len(m.References())+m.Skipped() > MaxDescriptors {
		t.Fatalf("%d references and %d skipped", len(m.References()), m.Skipped())
	}
	if m.Kind() == Opaque && len(m.References()) > 0 {
		t.Fatal("an opaque manifest refers to something")
	}
	for _, d := range m.References() {
		if d.Size < 0 || d.Size > blob.MaxSize {
			t.Fatalf("size %d", d.Size)
		}
		if (d.Role == Child) != (m.Kind() == Index) {
			t.Fatalf("role %d in %s", d.Role, m.Kind())
		}
	}
	for _, d := range m.Ahead() {
		if d.Foreign || d.Role == Child {
			t.Fatalf("%v is to be fetched ahead", d)
		}
	}
}

// A reference is what the model knows of a descriptor.
type reference struct {
	digest string
	size   int64
}

// model reads the references the obvious way, with the specification's own types.
func model(t *testing.T, kind Kind, body []byte) []reference {
	t.Helper()
	var all struct {
		Config    *ocispec.Descriptor  `json:"config"`
		Layers    []ocispec.Descriptor `json:"layers"`
		Manifests []ocispec.Descriptor `json:"manifests"`
		Blobs     []ocispec.Descriptor `json:"blobs"`
	}
	err := json.Unmarshal(body, &all)
	var want []ocispec.Descriptor
	switch kind {
	case Opaque:
		return nil
	case Image:
		if all.Config != nil {
			want = append(want, *all.Config)
		}
		want = append(want, all.Layers...)
	case Index:
		want = all.Manifests
	case Artifact:
		want = all.Blobs
	}
	if err != nil {
		t.Skip("the specification's types are stricter about fields that Parse does not read")
	}
	var refs []reference
	for _, d := range want {
		if strings.HasPrefix(string(d.Digest), "sha256:") && d.Size <= int64(blob.MaxSize) {
			refs = append(refs, reference{string(d.Digest), d.Size})
		}
	}
	return refs
}

func equal(got []Descriptor, want []reference) bool {
	if len(got) != len(want) {
		return false
	}
	for i, d := range got {
		if d.Digest.String() != want[i].digest || int64(d.Size) != want[i].size {
			return false
		}
	}
	return true
}

// Whatever shape four megabytes have, reading them costs a bounded multiple of them.
func TestBombsCostLittle(t *testing.T) {
	fill := func(head, item, tail string) string {
		n := (int(MaxBody) - len(head) - len(tail)) / len(item)
		return head + strings.Repeat(item, n) + tail
	}
	descriptor := `{"digest":"` + expand("D1") + `","size":1,"annotations":{"a":"b"}},`
	nested := strings.Repeat("[", maxDepth-2) + strings.Repeat("]", maxDepth-2) + ","
	for name, body := range map[string]string{
		"the same key":      fill(`{"schemaVersion":2`, `,"config":{"size":1}`, `}`),
		"keys":              fill(`{"schemaVersion":2`, `,"aaaaaaaa":1`, `}`),
		"descriptors":       fill(`{"schemaVersion":2,"manifests":[`, descriptor, `{}]}`),
		"lists of nothing":  fill(`{"schemaVersion":2,"layers":[`, nested, `[]],"config":{}}`),
		"children of lists": fill(`{"schemaVersion":2,"manifests":[{"digest":"`+expand("D1")+`","size":1,"platform":{"os":"a","x":[`, nested, `[]]}}]}`),
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := Parse([]byte(body))
			runtime.ReadMemStats(&after)
			if cost := int(after.TotalAlloc - before.TotalAlloc); cost > 8*len(body) {
				t.Errorf("%d bytes cost %d (%v)", len(body), cost, err)
			}
		})
	}
}
