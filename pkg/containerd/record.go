package containerd

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/shoal-project/shoal/pkg/containerd/hostfs"
)

const (
	// recordFile lies in the folder of folders, where containerd takes no notice of it. It
	// may hold passwords that were in a hosts.toml, so that only its owner reads it.
	recordFile    = ".shoal-record.json"
	recordPerm    = 0o600
	recordVersion = 1
	// recordMax bounds the record's size, in bytes.
	recordMax = 64 << 20
)

// A record is what Shoal changed in one folder of folders, and what was there before. It
// is written before the change it tells of: a crash leaves a record of a change that was
// not made, never a change without a record.
type record struct {
	Version int     `json:"schema_version"`
	Entries []entry `json:"entries"`
	// FolderMade is set where Shoal made the folder of folders.
	FolderMade bool `json:"folder_made"`
}

// An entry is one hosts.toml.
type entry struct {
	// Folder is the registry's.
	Folder string `json:"folder"`
	// Existed is set where there was a file; FolderMade where there was not even a folder.
	Existed    bool `json:"existed"`
	FolderMade bool `json:"folder_made"`
	// Before are the bytes that were there, and BeforeSum their SHA-256.
	Before    []byte `json:"before"`
	BeforeSum string `json:"before_sha256"`
	// Written are the SHA-256 of what Shoal has put there since, the latest last.
	Written []string `json:"written_sha256"`
	// Enforced is set where the latest leaves no way around the mirror.
	Enforced bool `json:"enforced"`
}

func sum(content []byte) string {
	digest := sha256.Sum256(content)
	return hex.EncodeToString(digest[:])
}

// wrote reports whether the bytes are Shoal's work, unedited.
func (e entry) wrote(content []byte) bool { return slices.Contains(e.Written, sum(content)) }

// readRecord reads the record of a folder of folders; none is empty.
func readRecord(tree *hostfs.Tree, root string) (record, error) {
	name := path.Join(root, recordFile)
	content, err := tree.ReadFile(name, recordMax)
	if errors.Is(err, fs.ErrNotExist) {
		return record{Version: recordVersion}, nil
	}
	if err != nil {
		return record{}, fmt.Errorf("read the record of earlier changes: %w", err)
	}
	r, err := parseRecord(content)
	if err != nil {
		return record{}, &RecordError{File: name, Reason: err.Error()}
	}
	return r, nil
}

func parseRecord(content []byte) (record, error) {
	var r record
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil {
		return record{}, errors.New("it is not the record of shoal containerd install")
	}
	return r, r.check()
}

// A RecordError says that a record cannot be believed.
type RecordError struct{ File, Reason string }

func (e *RecordError) Error() string {
	return fmt.Sprintf("%s: %s; move it away, and shoal containerd uninstall goes by Shoal's lines alone", e.File, e.Reason)
}

func (r record) check() error {
	if r.Version != recordVersion {
		return fmt.Errorf("it is of version %d, which this build does not know", r.Version)
	}
	seen := map[string]bool{}
	for _, e := range r.Entries {
		switch {
		case e.Folder != Default && (e.Folder == "" || strings.HasPrefix(e.Folder, ".") || strings.Contains(e.Folder, "/")):
			return errors.New("it names what is no folder of a registry")
		case seen[e.Folder]:
			return errors.New("it names a folder twice")
		case sum(e.Before) != e.BeforeSum:
			return errors.New("what was there before does not have the checksum that it had")
		}
		seen[e.Folder] = true
	}
	return nil
}

func (r record) empty() bool { return len(r.Entries) == 0 }

// entry finds what is known of a folder.
func (r record) entry(folder string) (entry, bool) {
	for _, e := range r.Entries {
		if e.Folder == folder {
			return e, true
		}
	}
	return entry{}, false
}

// with is the record with one entry put in or replaced.
func (r record) with(e entry) record {
	r = r.without(e.Folder)
	r.Entries = append(r.Entries, e)
	slices.SortFunc(r.Entries, func(a, b entry) int { return strings.Compare(a.Folder, b.Folder) })
	return r
}

func (r record) without(folder string) record {
	r.Entries = slices.DeleteFunc(slices.Clone(r.Entries), func(e entry) bool { return e.Folder == folder })
	return r
}

// write makes the record durable; an empty one is removed.
func (r record) write(tree *hostfs.Tree, root string) error {
	name := path.Join(root, recordFile)
	if r.empty() {
		return tree.RemoveFile(name)
	}
	r.Version = recordVersion
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if len(content) >= recordMax {
		return errors.New("write the record of changes: too many files at once; name fewer registries")
	}
	if err := tree.Replace(name, append(content, '\n'), recordPerm); err != nil {
		return fmt.Errorf("write the record of changes: %w", err)
	}
	return nil
}
