// Package scope stands in for a test where a program builds a lab: what fails ends one round
// of it, and not the program.
package scope

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Scope is the e2e.T of one round: it collects what fails, and cleans up at the end.
type Scope struct {
	name string
	ctx  context.Context //nolint:containedctx // lives as long as the scope, as a test's does
	log  io.Writer       // gets what a test would log

	mu       sync.Mutex
	failures []string
	cleanups []func()
}

// Perform calls do with a scope of that name, which must end within the given time, and
// cleans up after it. It returns what failed.
func Perform(name string, within time.Duration, log io.Writer, do func(*Scope)) error {
	late := fmt.Errorf("not done after %s", within.Round(time.Second))
	ctx, cancel := context.WithTimeoutCause(context.Background(), within, late)
	defer cancel()
	s := &Scope{name: name, ctx: ctx, log: log}
	apart(func() { do(s) })
	if ctx.Err() != nil {
		s.failures = slices.Insert(s.failures, 0, context.Cause(ctx).Error())
	}
	cancel() // for what do left behind, before what it works on goes
	for len(s.cleanups) > 0 {
		last := len(s.cleanups) - 1
		cleanup := s.cleanups[last]
		s.cleanups = s.cleanups[:last]
		apart(cleanup)
	}
	if len(s.failures) == 0 {
		return nil
	}
	return errors.New(strings.Join(s.failures, "; "))
}

// apart calls do in a goroutine of its own, which Fatal may end, and waits for that.
func apart(do func()) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		do()
	}()
	<-ended
}

// Name implements e2e.T.
func (s *Scope) Name() string { return s.name }

// Context implements e2e.T.
func (s *Scope) Context() context.Context { return s.ctx }

// Helper implements e2e.T.
func (s *Scope) Helper() {}

// Cleanup implements e2e.T.
func (s *Scope) Cleanup(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, do)
}

// Failed implements e2e.T.
func (s *Scope) Failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.failures) > 0
}

// Logf implements e2e.T.
func (s *Scope) Logf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = fmt.Fprintf(s.log, format+"\n", args...)
}

// Error implements e2e.T.
func (s *Scope) Error(args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = append(s.failures, fmt.Sprint(args...))
}

// Errorf implements e2e.T.
func (s *Scope) Errorf(format string, args ...any) { s.Error(fmt.Sprintf(format, args...)) }

// Fatal implements e2e.T.
func (s *Scope) Fatal(args ...any) {
	s.Error(args...)
	runtime.Goexit()
}

// Fatalf implements e2e.T.
func (s *Scope) Fatalf(format string, args ...any) { s.Fatal(fmt.Sprintf(format, args...)) }
