package main

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// A progress tells on standard error what happens now: on one line that changes where that is
// a terminal, else on a line for each step. It is safe for concurrent use.
type progress struct {
	terminal bool

	mu    sync.Mutex
	trial string // which trial it is
}

func newProgress() *progress {
	_, err := unix.IoctlGetTermios(int(os.Stderr.Fd()), unix.TCGETS)
	return &progress{terminal: err == nil}
}

// begin names the trial that all further steps belong to.
func (p *progress) begin(trial string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trial = trial
}

// step says what happens from now on.
func (p *progress) step(format string, args ...any) {
	p.show(!p.terminal, fmt.Sprintf(format, args...))
}

// update says how far that is; only a terminal shows it.
func (p *progress) update(format string, args ...any) {
	if p.terminal {
		p.show(false, fmt.Sprintf(format, args...))
	}
}

// done leaves a line that stays.
func (p *progress) done(format string, args ...any) { p.show(true, fmt.Sprintf(format, args...)) }

func (p *progress) show(stays bool, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	begin, end := "", ""
	if p.terminal {
		begin = "\r\033[K" // back to the first column, and nothing behind the cursor
	}
	if stays {
		end = "\n"
	}
	_, _ = fmt.Fprint(os.Stderr, begin, p.trial, ": ", text, end)
}
