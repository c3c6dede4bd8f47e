package config

import (
	"errors"
	"fmt"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
)

// Limits of what is taken in from any source.
const (
	// FileMax is the largest file of settings, in bytes.
	FileMax = 256 << 10
	// valueMax is the longest single value, in bytes: a path of Linux' PATH_MAX fits.
	valueMax = 4096
	// listMax is the longest list of values.
	listMax = 256
	// errorsMax is how many mistakes of one file are reported at once: as many as one reads.
	errorsMax = 20
)

// Sources is what cmd found, not yet interpreted. The zero value yields the defaults.
type Sources struct {
	// Flags are the values given on the command line, by key: exactly those that were given.
	Flags map[string][]string
	// Environment holds the process's variables by name; those that do not begin with
	// SHOAL_ are ignored, those that do and are no setting are errors.
	Environment map[string]string
	// FileName names the file in errors; empty is no file.
	FileName string
	// File is the content of the file.
	File []byte
}

// An Error reports one setting that cannot be used, and where it was made.
type Error struct {
	// Where is the place: "shoal.yaml:3", "environment", "command line"; empty for a default.
	Where string
	// Key names the setting as it is written there: "listen", "SHOAL_LISTEN", "--listen".
	// Empty when the error is about the file as a whole.
	Key string
	// Reason is a clause that says what is wrong and what would be right.
	Reason string
}

// Error returns one sentence.
func (e *Error) Error() string {
	s := e.Reason
	if e.Key != "" {
		s = e.Key + ": " + s
	}
	if e.Where != "" {
		s = e.Where + ": " + s
	}
	return s
}

// A layer is what one source says, each value with the place it comes from.
type layer map[string]given

// A given is the values of one setting as they were written.
type given struct {
	values []string
	where  string
	name   string
}

// Load puts the sources together: flags before environment before file before
// defaults, each setting as a whole. The result is valid. The error joins an *Error
// for everything that is wrong with one source, or with the whole.
func Load(src Sources) (Config, error) {
	file, fileErrs := readFile(src.FileName, src.File)
	environment, environmentErrs := readEnvironment(src.Environment)
	flags, flagErrs := readFlags(src.Flags)
	errs := append(append(fileErrs, environmentErrs...), flagErrs...)
	if len(errs) > 0 {
		return Config{}, errors.Join(errs...)
	}

	merged, origins, err := merge(file, environment, flags)
	if err != nil {
		return Config{}, err
	}
	c := Default()
	for _, s := range Settings() {
		from, ok := origins[s.Key]
		if !ok {
			continue
		}
		if err := s.assign(&c, merged.Strings(s.Key)); err != nil {
			errs = append(errs, &Error{Where: from.where, Key: from.name, Reason: err.Error()})
		}
	}
	if len(errs) > 0 {
		return Config{}, errors.Join(errs...)
	}
	for _, problem := range c.problems() {
		if from, ok := origins[problem.Key]; ok {
			problem.Where, problem.Key = from.where, from.name
		}
		errs = append(errs, problem)
	}
	if len(errs) > 0 {
		return Config{}, errors.Join(errs...)
	}
	return c, nil
}

// merge lays the layers over each other, the last on top, and remembers for each key
// which one it came from.
func merge(layers ...layer) (*koanf.Koanf, layer, error) {
	merged, origins := koanf.New("."), layer{}
	for _, l := range layers {
		values := make(map[string]any, len(l))
		for key, g := range l {
			values[key] = g.values
			origins[key] = g
		}
		if err := merged.Load(confmap.Provider(values, ""), nil); err != nil {
			return nil, nil, fmt.Errorf("put the settings together: %w", err)
		}
	}
	return merged, origins, nil
}

func readFlags(flags map[string][]string) (layer, []error) {
	l, known := layer{}, schema()
	var errs []error
	for _, key := range sortedKeys(flags) {
		name := "--" + key
		s, ok := known[key]
		if !ok {
			errs = append(errs, &Error{Key: name, Reason: "there is no such setting"})
			continue
		}
		if err := checkShape(s, flags[key]); err != nil {
			errs = append(errs, &Error{Key: name, Reason: err.Error()})
			continue
		}
		l[key] = given{values: flags[key], name: name}
	}
	return l, errs
}

// checkShape bounds the number and the length of the values of one setting.
func checkShape(s Setting, values []string) error {
	if s.Kind != List && len(values) != 1 {
		return fmt.Errorf("takes one value, not %d", len(values))
	}
	if len(values) > listMax {
		return fmt.Errorf("%d values are more than the %d that are allowed", len(values), listMax)
	}
	for _, v := range values {
		if len(v) > valueMax {
			return fmt.Errorf("a value of %d bytes is longer than the %d that are allowed", len(v), valueMax)
		}
	}
	return nil
}

// schema returns the settings by key.
func schema() map[string]Setting {
	known := map[string]Setting{}
	for _, s := range Settings() {
		known[s.Key] = s
	}
	return known
}
