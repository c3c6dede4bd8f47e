package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// A figure is two panels side by side under a title.
type figure struct {
	title, note string
	panels      [2]panel
}

// A panel draws lines over numbers of nodes, on a logarithmic axis.
type panel struct {
	title string
	aim   float64 // 0: none
	lines []curve
}

// A curve is one line of a panel. Points without a result, below 0, are left out.
type curve struct {
	name   string
	color  string
	labels bool // the values stand beside the points
	nodes  []int
	values []float64
}

// Sizes and colours, in pixels.
const (
	figureWidth, figureHeight = 960, 460
	panelWidth, panelHeight   = 372, 262
	panelTop                  = 120
	inset                     = 22 // of the first and the last point
	ink, faint, grid          = "#1f2933", "#7b8794", "#e4e7eb"
	accent, second, aimColor  = "#0b7285", "#74c0d4", "#d9480f"
	// halo keeps a value readable where a line runs past it.
	halo = `text-anchor="middle" font-size="12" font-weight="600" paint-order="stroke" stroke="#ffffff" stroke-width="4" stroke-linejoin="round"`
	font = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
)

// panelLeft is where each panel begins.
func panelLeft(k int) float64 { return []float64{64, 548}[k] }

// svg is the figure as a document.
func (f figure) svg() string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="%s" font-size="13" fill="%s">`+"\n",
		figureWidth, figureHeight, figureWidth, figureHeight, font, ink)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" rx="10" fill="#ffffff"/>`+"\n")
	text(&b, 64, 40, f.title, `font-size="19" font-weight="600"`)
	text(&b, 64, 62, f.note, fmt.Sprintf(`fill="%s"`, faint))
	for k, p := range f.panels {
		p.draw(&b, panelLeft(k))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func text(b *strings.Builder, x, y float64, s, attributes string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" %s>%s</text>`+"\n", x, y, attributes, html.EscapeString(s))
}

// A scale turns nodes and values into places.
type scale struct {
	left             float64
	logFrom, logSpan float64
	to               float64 // the vertical axis begins at 0
}

func (s scale) x(nodes int) float64 {
	return s.left + inset + (panelWidth-2*inset)*(math.Log10(float64(nodes))-s.logFrom)/s.logSpan
}

func (s scale) y(v float64) float64 {
	return panelTop + panelHeight*(1-v/s.to)
}

// scale fits everything that is drawn.
func (p panel) scale(left float64) (s scale, step float64) {
	least, most, top := math.MaxInt, 2, p.aim
	for _, c := range p.lines {
		for i, n := range c.nodes {
			least, most = min(least, n), max(most, n)
			top = max(top, c.values[i])
		}
	}
	step = niceStep(top / 4)
	s = scale{left: left, to: step * math.Ceil(top/step+0.2)}
	s.logFrom = math.Log10(float64(min(least, most)))
	s.logSpan = max(math.Log10(float64(most))-s.logFrom, 0.1)
	return s, step
}

// niceStep is the least of 1, 2, 2.5 and 5 times a power of ten that is not below x.
func niceStep(x float64) float64 {
	if x <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(x)))
	for _, times := range []float64{1, 2, 2.5, 5} {
		if times*power >= x {
			return times * power
		}
	}
	return 10 * power
}

func (p panel) draw(b *strings.Builder, left float64) {
	s, step := p.scale(left)
	text(b, left, panelTop-18, p.title, `font-weight="600"`)
	for v := 0.0; v <= s.to+step/2; v += step {
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="%s"/>`+"\n", left, left+panelWidth, s.y(v), s.y(v), grid)
		text(b, left-8, s.y(v)+4, fmt.Sprintf("%.*f", decimals(step), v), fmt.Sprintf(`text-anchor="end" fill="%s"`, faint))
	}
	p.drawNodes(b, s)
	if p.aim > 0 {
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="%s" stroke-width="1.5" stroke-dasharray="5 4"/>`+"\n",
			left, left+panelWidth, s.y(p.aim), s.y(p.aim), aimColor)
	}
	for _, c := range p.lines {
		c.draw(b, s)
	}
	p.legend(b, left)
}

func decimals(step float64) int {
	switch {
	case step >= 1 && step == math.Trunc(step):
		return 0
	case math.Abs(step*10-math.Round(step*10)) < 1e-9:
		return 1
	default:
		return 2
	}
}

// drawNodes labels the horizontal axis where there is something to see.
func (p panel) drawNodes(b *strings.Builder, s scale) {
	bottom := float64(panelTop + panelHeight)
	fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="%s"/>`+"\n", s.left, s.left+panelWidth, bottom, bottom, faint)
	if len(p.lines) > 0 {
		for _, n := range p.lines[0].nodes {
			fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f" stroke="%s"/>`+"\n", s.x(n), s.x(n), bottom, bottom+5, faint)
			text(b, s.x(n), bottom+20, fmt.Sprint(n), fmt.Sprintf(`text-anchor="middle" fill="%s"`, faint))
		}
	}
	text(b, s.left+panelWidth/2, bottom+40, "nodes", fmt.Sprintf(`text-anchor="middle" fill="%s"`, faint))
}

// draw draws the line, its points, and their values where they are asked for.
func (c curve) draw(b *strings.Builder, s scale) {
	var points []string
	for i, n := range c.nodes {
		if c.values[i] >= 0 {
			points = append(points, fmt.Sprintf("%.1f,%.1f", s.x(n), s.y(c.values[i])))
		}
	}
	fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2.5" stroke-linejoin="round" stroke-linecap="round"/>`+"\n",
		strings.Join(points, " "), c.color)
	for i, n := range c.nodes {
		if c.values[i] < 0 {
			continue
		}
		x, y := s.x(n), s.y(c.values[i])
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="4" fill="#ffffff" stroke="%s" stroke-width="2.5"/>`+"\n", x, y, c.color)
		if c.labels {
			text(b, x, y-12, fmt.Sprintf("%.2f", c.values[i]), halo)
		}
	}
}

// legend names the lines below the panel.
func (p panel) legend(b *strings.Builder, left float64) {
	const y = panelTop + panelHeight + 64
	x := left
	entry := func(name, stroke string) {
		fmt.Fprintf(b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke-linecap="round" %s/>`+"\n", x, x+18, y-4, y-4, stroke)
		text(b, x+26, y, name, "")
		x += 56 + 7*float64(len(name))
	}
	for _, c := range p.lines {
		entry(c.name, fmt.Sprintf(`stroke="%s" stroke-width="3"`, c.color))
	}
	if p.aim > 0 {
		entry(fmt.Sprintf("aim %.2f", p.aim), fmt.Sprintf(`stroke="%s" stroke-width="1.5" stroke-dasharray="5 4"`, aimColor))
	}
}
