package config_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/shoal-project/shoal/pkg/config"
)

// FuzzLoadFile: whatever the file holds, Load either returns settings that are valid
// and says the same again, or errors that each name the file; it never panics.
func FuzzLoadFile(f *testing.F) {
	f.Add([]byte("listen: 127.0.0.1:6050\np2p-bootstrap: [a.example:6051]\nupstream:\n  - docker.io=https://mirror.example\n"))
	f.Fuzz(func(t *testing.T, content []byte) {
		src := config.Sources{FileName: "shoal.yaml", File: content}
		c, err := config.Load(src)
		if err != nil {
			joined, ok := err.(interface{ Unwrap() []error })
			if !ok {
				t.Fatalf("%T is not a list of errors", err)
			}
			for _, e := range joined.Unwrap() {
				if !strings.HasPrefix(e.Error(), "shoal.yaml") {
					// What the file leaves at its default can be wrong with what it sets, but then
					// the default's key is named.
					if problem, ok := errors.AsType[*config.Error](e); !ok || problem.Key == "" {
						t.Errorf("%v names neither place nor key", e)
					}
				}
			}
			return
		}
		if err := c.Validate(); err != nil {
			t.Errorf("loaded, but not valid: %v", err)
		}
		again, err := config.Load(src)
		if err != nil || !reflect.DeepEqual(c, again) {
			t.Errorf("a second Load differs: %+v and %+v, %v", c, again, err)
		}
	})
}
