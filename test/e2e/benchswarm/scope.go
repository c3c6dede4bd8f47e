package main

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

// A scope is the e2e.T of one round: it collects what fails, and cleans up at the end.
type scope struct {
	name string
	ctx  context.Context //nolint:containedctx // lives as long as the scope, as a test's does
	log  io.Writer       // gets what a test would log

	mu       sync.Mutex
	failures []string
	cleanups []func()
}

// perform calls do with a scope of that name, which must end within the given time, and
// cleans up after it. It returns what failed.
func perform(name string, within time.Duration, log io.Writer, do func(*scope)) error {
	late := fmt.Errorf("not done after %s", within.Round(time.Second))
	ctx, cancel := context.WithTimeoutCause(context.Background(), within, late)
	defer cancel()
	s := &scope{name: name, ctx: ctx, log: log}
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

// The methods of e2e.T.

func (s *scope) Name() string             { return s.name }
func (s *scope) Context() context.Context { return s.ctx }
func (s *scope) Helper()                  {}

func (s *scope) Cleanup(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cleanups = append(s.cleanups, do)
}

func (s *scope) Failed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.failures) > 0
}

func (s *scope) Logf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = fmt.Fprintf(s.log, format+"\n", args...)
}

func (s *scope) Error(args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = append(s.failures, fmt.Sprint(args...))
}

func (s *scope) Errorf(format string, args ...any) { s.Error(fmt.Sprintf(format, args...)) }

func (s *scope) Fatal(args ...any) {
	s.Error(args...)
	runtime.Goexit()
}

func (s *scope) Fatalf(format string, args ...any) { s.Fatal(fmt.Sprintf(format, args...)) }
