package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// A board shows on one line of a terminal what the runs are at. Without a terminal it
// shows nothing. It is safe for concurrent use.
type board struct {
	out io.Writer // nil: none

	mu    sync.Mutex
	lines []*line
	drawn time.Time
}

// A line is what one run is at.
type line struct {
	board     *board
	name, now string
}

// redraw is the least time between two drawings.
const redraw = 100 * time.Millisecond

// width is where a line is cut: one that wraps cannot be taken back.
const width = 118

func (b *board) line(name string) *line {
	l := &line{board: b, name: name}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, l)
	return l
}

func (l *line) say(now string) {
	b := l.board
	b.mu.Lock()
	defer b.mu.Unlock()
	l.now = now
	if b.out == nil || time.Since(b.drawn) < redraw {
		return
	}
	b.drawn = time.Now()
	var parts []string
	for _, l := range b.lines {
		if l.now != "" {
			parts = append(parts, l.name+": "+l.now)
		}
	}
	text := strings.Join(parts, " | ")
	_, _ = fmt.Fprintf(b.out, "\r\x1b[K%s", text[:min(len(text), width)])
}

func (l *line) done() {
	b := l.board
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, o := range b.lines {
		if o == l {
			b.lines = append(b.lines[:i], b.lines[i+1:]...)
			break
		}
	}
}

// wipe makes room for a line of output.
func (b *board) wipe() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.out != nil && !b.drawn.IsZero() {
		_, _ = fmt.Fprint(b.out, "\r\x1b[K")
	}
}
