package main

import (
	"bytes"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/term"
)

// Control sequences (ECMA-48, and xterm's private modes).
const (
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[2J" // alternate screen, no cursor, empty
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	cursorHome  = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
	bold        = "\x1b[1m"
	plain       = "\x1b[0m"
)

// A terminal is where pages go: a screen, or a file or pipe that is none.
type terminal struct {
	w io.Writer
	// size returns columns and rows; nil when w is no screen.
	size func() (width, height int)
	// blocks says that Unicode's block characters can be shown.
	blocks bool
	// emphasis says that headings may be bold.
	emphasis bool
}

// newTerminal finds out what w is.
func newTerminal(w io.Writer, environment map[string]string) *terminal {
	t := &terminal{w: w, blocks: speaksUTF8(environment)}
	f, ok := w.(*os.File)
	if !ok || environment["TERM"] == "dumb" || !term.IsTerminal(int(f.Fd())) {
		return t
	}
	t.emphasis = environment["NO_COLOR"] == ""
	t.size = func() (int, int) {
		width, height, err := term.GetSize(int(f.Fd()))
		if err != nil || width <= 0 || height <= 0 {
			return 80, 24
		}
		return width, height
	}
	return t
}

// speaksUTF8 goes by the locale, in the order of POSIX (Base Definitions, 8.2).
func speaksUTF8(environment map[string]string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToLower(environment[name]); v != "" {
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
}

func (t *terminal) isScreen() bool { return t.size != nil }

// look is how pages are drawn here; watched says that redraw will show them.
func (t *terminal) look(full, watched bool) look {
	l := look{blocks: t.blocks, full: full}
	if t.isScreen() {
		l.width, _ = t.size()
		l.cut = watched
	}
	return l
}

// print writes the whole page once.
func (t *terminal) print(lines []line) error {
	var b bytes.Buffer
	for _, l := range lines {
		b.WriteString(t.styled(l, l.text))
		b.WriteByte('\n')
	}
	_, err := t.w.Write(b.Bytes())
	return err
}

func (t *terminal) styled(l line, text string) string {
	if l.heading && t.emphasis && text != "" {
		return bold + text + plain
	}
	return text
}

// redraw puts the page over the one before it, in one write so that nothing flickers,
// with footer in the last row. What does not fit is left out, and the footer says so.
func (t *terminal) redraw(lines []line, footer string) error {
	width, height := t.size()
	room := max(0, height-1)
	if hidden := len(lines) - room; hidden > 0 {
		lines = lines[:room]
		footer += " (" + strconv.Itoa(hidden) + " lines do not fit)"
	}
	var b bytes.Buffer
	b.WriteString(cursorHome)
	for _, l := range lines {
		b.WriteString(t.styled(l, clip(l.text, width)))
		b.WriteString(clearLine + "\r\n")
	}
	for range room - len(lines) {
		b.WriteString(clearLine + "\r\n")
	}
	b.WriteString(clip(footer, width) + clearLine + clearBelow)
	_, err := t.w.Write(b.Bytes())
	return err
}
