package containerd

import (
	"strings"
	"testing"
)

// Whatever lies in the record of earlier changes, what is believed of it names no file outside its
// folder, and gives back only bytes whose checksum it has.
func FuzzRecord(f *testing.F) {
	for _, content := range []string{
		"", "{}", `{"schema_version":1,"entries":[],"folder_made":true}`,
		`{"schema_version":1,"entries":[{"folder":"docker.io","existed":true,"folder_made":false,"before":"YQ==","before_sha256":"` + sum([]byte("a")) + `","written_sha256":["00"],"enforced":false}],"folder_made":false}`,
		`{"schema_version":1,"entries":[{"folder":"../etc"}]}`,
	} {
		f.Add([]byte(content))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		r, err := parseRecord(content)
		if err != nil {
			return
		}
		for _, e := range r.Entries {
			if e.Folder != Default && (strings.ContainsAny(e.Folder, "/") || strings.HasPrefix(e.Folder, ".")) || sum(e.Before) != e.BeforeSum {
				t.Fatalf("%+v", e)
			}
		}
	})
}
