package scope

import (
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// What follows Fatal does not happen, all cleanups do, the last one first, and each failure is told.
func TestScope(t *testing.T) {
	var happened []string
	note := func(s string) func() { return func() { happened = append(happened, s) } }
	var log strings.Builder
	err := Perform("name", time.Minute, &log, func(s *Scope) {
		s.Cleanup(note("first"))
		s.Cleanup(func() {
			note("second")()
			if s.Context().Err() == nil {
				s.Error("the context lives")
			}
			s.Fatal("no folder")
		})
		s.Logf("%d nodes", 6)
		s.Errorf("%s is slow", "n1")
		s.Fatalf("%s is dead", "n2")
		note("never")()
	})
	if want := []string{"second", "first"}; !reflect.DeepEqual(happened, want) {
		t.Errorf("what happened: %q, want %q", happened, want)
	}
	if want := "n1 is slow; n2 is dead; no folder"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if log.String() != "6 nodes\n" {
		t.Errorf("the log is %q", log.String())
	}
}

func TestScopeTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cleaned := false
		err := Perform("name", time.Minute, new(strings.Builder), func(s *Scope) {
			s.Cleanup(func() { cleaned = true })
			<-s.Context().Done()
		})
		if err == nil || err.Error() != "not done after 1m0s" || !cleaned {
			t.Errorf("error %v, cleaned up: %v", err, cleaned)
		}
	})
}

func TestScopeSucceeds(t *testing.T) {
	if err := Perform("name", time.Minute, new(strings.Builder), func(*Scope) {}); err != nil {
		t.Error(err)
	}
}
