package main

import (
	"slices"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/shoal-project/shoal/pkg/blob"
)

// A look is what decides how a page is drawn.
type look struct {
	// width of the screen in columns; 0 is not known, and nothing is cut.
	width int
	// blocks draws bars with Unicode's block characters rather than ASCII.
	blocks bool
	// full shows digests and peer IDs whole.
	full bool
	// cut says that what goes beyond width will not be seen, so that a table had better
	// leave out what matters least.
	cut bool
}

// A line of a page. Headings are emphasized where that is possible.
type line struct {
	text    string
	heading bool
}

// A page is drawn line by line, for people. It belongs to one goroutine.
type page struct {
	look

	lines []line
}

func (p *page) text(s string) { p.lines = append(p.lines, line{text: s}) }

// heading begins a section, after an empty line unless it is the first.
func (p *page) heading(s string) {
	if len(p.lines) > 0 {
		p.text("")
	}
	p.lines = append(p.lines, line{text: s, heading: true})
}

// table aligns rows under a header; a header of nil is left out.
func (p *page) table(indent string, header []string, rows [][]string) {
	lines := align(header, rows)
	for i, s := range lines {
		p.lines = append(p.lines, line{text: indent + s, heading: header != nil && i == 0})
	}
}

// fit takes columns out of a table, in the order given, until it is at most width wide.
// It changes header and rows.
func (l look) fit(width int, header []string, rows [][]string, leastFirst ...string) (fitted []string, _ [][]string) {
	for _, name := range leastFirst {
		if !l.cut || widest(align(header, rows)) <= width {
			break
		}
		column := slices.Index(header, name)
		header = slices.Delete(header, column, column+1)
		for i := range rows {
			rows[i] = slices.Delete(rows[i], column, column+1)
		}
	}
	return header, rows
}

// align pads cells to columns, two spaces apart.
func align(header []string, rows [][]string) []string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if header != nil {
		rows = append([][]string{header}, rows...)
	}
	for _, row := range rows {
		_, _ = w.Write([]byte(strings.Join(row, "\t") + "\n")) // a Builder does not fail
	}
	_ = w.Flush() // nor does it now
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return lines
}

// widest is the length of the longest line, in columns: clean leaves only characters
// of one column, and so do bars.
func widest(lines []string) int {
	longest := 0
	for _, s := range lines {
		longest = max(longest, utf8.RuneCountInString(s))
	}
	return longest
}

// digest names a blob; the first digits are enough for people.
func (p *page) digest(d blob.Digest) string {
	if p.full {
		return d.String()
	}
	return "sha256:" + d.Short()
}

// peer names a peer. IDs of one kind of key begin alike, so both ends are shown.
func (p *page) peer(id string) string {
	const head, tail = 8, 8
	id = clean(id, wordMax)
	if p.full || len(id) <= head+tail+3 {
		return id
	}
	return id[:head] + "..." + id[len(id)-tail:]
}

// clip cuts s to width columns; 0 is any.
func clip(s string, width int) string {
	if width <= 0 || utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:width])
}
