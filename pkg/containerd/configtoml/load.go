package configtoml

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

const (
	// SizeMax is the most that is read of one file, in bytes.
	SizeMax = 1 << 20
	// filesMax is the most files that are read.
	filesMax = 500
)

// A Source has the files. Names are absolute.
type Source interface {
	// ReadFile fails with fs.ErrNotExist where there is none, and on more than SizeMax.
	ReadFile(name string) ([]byte, error)
	// Glob lists what matches a pattern of path.Match, sorted.
	Glob(pattern string) ([]string, error)
}

// A FileError says why containerd does not start with a file.
type FileError struct {
	File string
	// Line counts from 1; 0 is not known.
	Line   int
	Reason string
}

func (e *FileError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %s", e.File, e.Reason)
	}
	return fmt.Sprintf("%s, line %d: %s", e.File, e.Line, e.Reason)
}

// document is one file.
type document struct {
	Version         int            `toml:"version"`
	Imports         []string       `toml:"imports"`
	DisabledPlugins []string       `toml:"disabled_plugins"`
	Plugins         map[string]any `toml:"plugins"`
	GRPC            struct {
		Address string `toml:"address"`
	} `toml:"grpc"`
}

// Load reads the main file and what it imports. Without a main file containerd uses its
// defaults. Load fails with a *FileError where containerd would not start, and with what
// src fails with.
func Load(src Source, main string, release Release) (Config, error) {
	l := &loader{
		src: src, release: release, newest: release.formatMax(),
		loaded: map[string]bool{}, plugins: map[string]any{}, pathFiles: map[string]string{},
	}
	c := Config{Main: main, Release: release}
	switch err := l.load(main); {
	case errors.Is(err, fs.ErrNotExist) && len(l.files) == 0:
		c.Missing = true
	case err != nil:
		return Config{}, err
	}
	c.Files, c.Version, c.Socket = l.files, l.version, l.socket
	if release.mergesFirst() {
		c.Version = l.newest
	}
	if err := c.evaluate(l.plugins, l.disabled); err != nil {
		return Config{}, &FileError{File: main, Reason: err.Error()}
	}
	if c.Path != "" {
		c.PathFile = l.pathFiles[release.section()]
	}
	return c, nil
}

// A loader merges files in the order in which containerd does.
type loader struct {
	src     Source
	release Release

	loaded    map[string]bool
	files     []string
	version   int // of the main file
	newest    int // what the last file makes of all
	plugins   map[string]any
	pathFiles map[string]string // the last that sets config_path, by section
	disabled  []string
	socket    string // of the tables grpc
}

func (l *loader) load(main string) error {
	for pending := []string{main}; len(pending) > 0; {
		name := pending[0]
		pending = pending[1:]
		if l.loaded[name] {
			continue
		}
		if len(l.files) == filesMax {
			return &FileError{File: main, Reason: fmt.Sprintf("it imports more than %d files", filesMax)}
		}
		d, err := l.read(name)
		if err != nil {
			return err
		}
		if len(l.files) == 0 {
			l.version = d.Version
		}
		l.count(d.Version)
		l.loaded[name] = true
		l.files = append(l.files, name)
		l.merge(name, d)
		imports, err := l.imports(name, d.Imports)
		if err != nil {
			return err
		}
		pending = append(pending, imports...)
	}
	if l.newest > l.release.formatMax() {
		return &FileError{File: main, Reason: fmt.Sprintf("containerd %s does not know version %d of the format", l.release, l.newest)}
	}
	if l.release.mergesFirst() && l.newest < l.release.formatMax() {
		if err := l.migrateMerged(); err != nil {
			return &FileError{File: main, Reason: err.Error()}
		}
	}
	return nil
}

// count lets the version of one more file count for all.
func (l *loader) count(version int) {
	switch {
	case l.release == Newest: // each file is migrated before it is merged
		l.newest = max(version, l.release.formatMax())
	case l.release.mergesFirst() && version < 2: // it is taken for one of the version before it
	case version != 0:
		l.newest = version
	}
}

// migrateMerged brings up what was merged, whichever file it is from: 2.0 to 2.2 do this
// where the last file is of an older version.
func (l *loader) migrateMerged() error {
	if registryIn(l.plugins, oldSection) != nil {
		l.pathFiles[newSection] = l.pathFiles[oldSection]
	}
	return migrate(l.plugins)
}

func (l *loader) read(name string) (document, error) {
	content, err := l.src.ReadFile(name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) && len(l.files) > 0 {
			return document{}, &FileError{File: name, Reason: "it is imported and does not exist"}
		}
		return document{}, err
	}
	if len(content) > SizeMax {
		return document{}, &FileError{File: name, Reason: fmt.Sprintf("it is larger than %d KiB", SizeMax>>10)}
	}
	var d document
	if err := toml.Unmarshal(content, &d); err != nil {
		e := &FileError{File: name, Reason: fmt.Sprintf("%.200s", strings.TrimPrefix(err.Error(), "toml: "))}
		if at, ok := errors.AsType[*toml.DecodeError](err); ok {
			e.Line, _ = at.Position()
		}
		return document{}, e
	}
	if d.Version < 2 {
		d.renameFirstVersion()
	}
	if l.release == Newest && d.Version < l.release.formatMax() {
		if err := migrate(d.Plugins); err != nil {
			return document{}, &FileError{File: name, Reason: err.Error()}
		}
	}
	for _, plugin := range d.DisabledPlugins {
		if !strings.Contains(plugin, ".") {
			return document{}, &FileError{File: name, Reason: fmt.Sprintf("disabled_plugins: %.100q is not the full name of a plugin", plugin)}
		}
	}
	return d, nil
}

func (l *loader) merge(name string, d document) {
	for _, section := range []string{oldSection, newSection} {
		if _, ok := registryIn(d.Plugins, section)["config_path"]; ok {
			l.pathFiles[section] = name
		}
	}
	if l.release == One {
		maps.Copy(l.plugins, d.Plugins)
	} else {
		mergeInto(l.plugins, d.Plugins)
	}
	l.disabled = append(l.disabled, d.DisabledPlugins...)
	if d.GRPC.Address != "" {
		l.socket = d.GRPC.Address
	}
}

// mergeInto lets what from says count, table by table.
func mergeInto(to, from map[string]any) {
	for key, value := range from {
		old, wasTable := to[key].(map[string]any)
		table, isTable := value.(map[string]any)
		if wasTable && isTable {
			mergeInto(old, table)
			continue
		}
		to[key] = value
	}
}

// imports are the files that a file imports. Only a star makes a pattern.
func (l *loader) imports(parent string, patterns []string) ([]string, error) {
	var names []string
	for _, pattern := range patterns {
		name := path.Clean(pattern)
		if !path.IsAbs(name) {
			name = path.Join(path.Dir(parent), name)
		}
		if !strings.Contains(name, "*") {
			names = append(names, name)
			continue
		}
		matches, err := l.src.Glob(name)
		if err != nil {
			return nil, &FileError{File: parent, Reason: fmt.Sprintf("import %.100q: %s", pattern, err)}
		}
		names = append(names, slices.Sorted(slices.Values(matches))...)
		if len(names) > filesMax {
			return nil, &FileError{File: parent, Reason: fmt.Sprintf("it imports more than %d files", filesMax)}
		}
	}
	return names, nil
}
