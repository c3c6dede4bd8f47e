package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
)

// errStopped is why a context ended that a signal ended.
var errStopped = errors.New("stopped by a signal")

// untilSignal returns a context that ends with the first SIGINT or SIGTERM. The second
// ends the process at once. The caller calls stop, which waits for what it started.
func (a *app) untilSignal(parent context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	quit, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for first := true; ; first = false {
			select {
			case <-quit:
				return
			case <-signals:
			}
			if !first {
				a.exit(exitKilled)
			}
			cancel(errStopped)
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(quit)
		<-ended
		cancel(nil)
	}
}
