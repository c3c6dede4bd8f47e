package hoststoml_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/shoal-project/shoal/pkg/containerd/hoststoml"
)

// Whatever a file holds: what Insert accepts, containerd accepts, with the mirror in
// front of the same hosts, and Cut gives back the bytes.
func FuzzInsert(f *testing.F) {
	for _, content := range corpus(f) {
		f.Add(content)
	}
	o := newOracle(f)
	m := mirror(f, "127.0.0.1:6050")
	f.Fuzz(func(t *testing.T, before []byte) {
		after, err := hoststoml.Insert(before, m)
		if err != nil {
			return
		}
		rest, found, err := hoststoml.Cut(after)
		if err != nil || !found || !bytes.Equal(rest, before) {
			t.Fatalf("cut to %q, %v, %v", rest, found, err)
		}
		parsed, err := hoststoml.Parse(before)
		if err != nil {
			t.Fatalf("inserted into what does not parse: %v", err)
		}
		if len(filesOf(parsed)) > 0 || len(before) == 0 { // files that nobody has; no file to containerd
			return
		}
		want, wantErr := o.hosts(before, nil)
		got, gotErr := o.hosts(after, nil)
		if wantErr != nil || gotErr != nil {
			t.Fatalf("containerd fails: %v, %v", wantErr, gotErr)
		}
		if want = append([]string{shoalHost}, want...); !slices.Equal(got, want) {
			t.Fatalf("containerd asks %q, want %q", got, want)
		}
	})
}

// Parse accepts what containerd accepts, and finds the same hosts.
func FuzzParse(f *testing.F) {
	for _, content := range corpus(f) {
		f.Add(content)
	}
	o := newOracle(f)
	f.Fuzz(func(t *testing.T, content []byte) {
		parsed, err := hoststoml.Parse(content)
		if len(content) == 0 || len(content) > hoststoml.SizeMax {
			return
		}
		asked, oracleErr := o.hosts(content, nil)
		if oracleErr != nil { // files that nobody has
			return
		}
		if err != nil { // then containerd goes on as without the file
			if len(asked) != 1 {
				t.Fatalf("%v, but containerd asks %q", err, asked)
			}
			return
		}
		compareHosts(t, "file", parsed, asked)
	})
}

// Cut takes only whole lines that Shoal wrote, all of them: in what it leaves it finds none.
// It never fails on what Insert made.
func FuzzCut(f *testing.F) {
	m := mirror(f, "127.0.0.1:6050")
	for _, content := range corpus(f) {
		after, err := hoststoml.Insert(content, m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(after)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		rest, found, err := hoststoml.Cut(content)
		switch {
		case err != nil && rest != nil, err == nil && !found && !bytes.Equal(rest, content):
			t.Fatalf("%q, %v, %v", rest, found, err)
		case found && len(rest) >= len(content):
			t.Fatalf("cut to %q", rest)
		case found:
			again, found, err := hoststoml.Cut(rest)
			if err != nil || found || !bytes.Equal(again, rest) {
				t.Fatalf("cut to %q, and that to %q, %v, %v", rest, again, found, err)
			}
		}
	})
}
