package proxy

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"
	"time"

	"github.com/shoal-project/shoal/pkg/blob"
)

// savedTags are those of a file with this content.
type savedTags []byte

func (s savedTags) Load() ([]Tag, error) { return readTags(bytes.NewReader(s)) }

func (savedTags) Save(tags []Tag) error {
	_, err := json.Marshal(tags)
	return err
}

// Whatever lies in the file of last known tags, the proxy starts, keeps as many as it may, and calls
// nothing public that upstream would have to have opened in the future.
func FuzzTagFile(f *testing.F) {
	for _, content := range []string{
		"", "null", "{}", "[]", "[null]", `[{"Repository":{"Registry":"reg.example","Name":"a/b"},"Name":"v1","Digest":"` + someDigest + `","MediaType":"x/y","Seen":"2026-01-01T00:00:00Z","Public":"9999-01-01T00:00:00Z"}]`,
		`[{"Repository":{"Registry":"\u0000"},"Name":"\r\n"}]`, `[{"Digest":"sha512:00"}]`, "[[[[[[", `[{},{},{}]`,
	} {
		f.Add([]byte(content))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		const most = 2
		p, err := New(Config{MaxTags: most, MaxGrants: most}, Deps{
			Upstream: &hungUpstream{}, Blobs: &fakeBlobs{}, Store: &memStore{held: map[blob.Digest][]byte{}}, Tags: savedTags(content), Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		if p.tags.last.Len() > most || p.grants.open.Len() > most {
			t.Fatalf("%d tags, %d open repositories", p.tags.last.Len(), p.grants.open.Len())
		}
		for _, key := range p.tags.last.Keys() {
			if p.grants.publicAt(key.repo).After(time.Now()) {
				t.Fatalf("%v is public from the future on", key)
			}
		}
		p.tags.dirty.Store(true)
		p.saveTags()
		if p.tags.dirty.Load() {
			t.Fatal("what was read is not written")
		}
	})
}
