package jsondepth_test

import (
	"testing"

	"github.com/shoal-project/shoal/pkg/jsondepth"
)

func TestExceeds(t *testing.T) {
	for text, want := range map[string]bool{
		`{"a":[1]}`:            false,
		`{"a":[{}]}`:           true,
		`[][][][]`:             false,
		`{"[[[[":"{\"[[[[\""}`: false,
		`"\\"[[[`:              true,
		``:                     false,
	} {
		if got := jsondepth.Exceeds([]byte(text), 2); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}
