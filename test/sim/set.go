package main

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/shoal-project/shoal/scheduler"
)

// settings are fields of scheduler.Config that a run has otherwise: how a policy's numbers
// are tried out.
type settings struct {
	words  []string // as given
	config scheduler.Config
}

// add takes words like "Uploads=8,Stagger=20ms,Run=4194304".
func (s *settings) add(text string) error {
	for word := range strings.SplitSeq(text, ",") {
		name, value, ok := strings.Cut(word, "=")
		field := reflect.ValueOf(&s.config).Elem().FieldByName(name)
		if !ok || !field.IsValid() || !field.CanInt() {
			return fmt.Errorf("--set takes Name=value with a number or a time of scheduler.Config, not %q", word)
		}
		n, err := parseNumber(value)
		if err != nil {
			return fmt.Errorf("--set %s: %w", word, err)
		}
		field.SetInt(n)
		s.words = append(s.words, word)
	}
	if err := s.config.Validate(); err != nil {
		return fmt.Errorf("--set: %w", err)
	}
	return nil
}

// parseNumber reads a number, or a time in nanoseconds.
func parseNumber(s string) (int64, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return int64(d), nil
	}
	return strconv.ParseInt(s, 10, 64)
}

// replay is the part of a command line that sets them again.
func (s *settings) replay() string {
	if len(s.words) == 0 {
		return ""
	}
	return " --set " + strings.Join(s.words, ",")
}
