package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// maxTagFile bounds what is read back: the file is in the node's own folder, but not precious.
const maxTagFile = 64 << 20

// A TagFile is a Tags in one JSON file at this path, replaced atomically. Losing it loses
// only what could have been served while upstream is out of reach.
type TagFile string

// Load returns what was saved last, and nothing when there is no file.
func (f TagFile) Load() ([]Tag, error) {
	file, err := os.Open(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("load tags: %w", err)
	}
	defer file.Close() //nolint:errcheck // opened for reading
	tags, err := readTags(file)
	if err != nil {
		return nil, fmt.Errorf("load tags: %w", err)
	}
	return tags, nil
}

// readTags reads the file's content, and no more of it than its bound.
func readTags(r io.Reader) (tags []Tag, err error) {
	err = json.NewDecoder(io.LimitReader(r, maxTagFile)).Decode(&tags)
	return tags, err
}

// Save replaces the file. It is for one goroutine at a time.
func (f TagFile) Save(tags []Tag) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("save tags: %w", err)
		}
	}()
	file, err := os.CreateTemp(filepath.Dir(string(f)), ".tags-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) //nolint:errcheck // gone already when all went well
	err = json.NewEncoder(file).Encode(tags)
	if err == nil {
		err = file.Sync()
	}
	if closing := file.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	return os.Rename(file.Name(), string(f))
}
