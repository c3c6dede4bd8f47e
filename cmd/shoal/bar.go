package main

import "strings"

const (
	// barMin is the narrowest bar that says anything; barMax keeps it readable. Columns.
	barMin = 8
	barMax = 40
	// barDefault is the width where that of the screen is not known.
	barDefault = 24
)

// barWidth is the width of a bar in a table that is taken columns wide without it; 0
// leaves it out.
func (l look) barWidth(taken int) int {
	if l.width == 0 {
		return barDefault
	}
	if room := l.width - taken; room >= barMin {
		return min(room, barMax)
	}
	return 0
}

// bar draws percent (0 to 100) in exactly width columns, frame included; narrower
// than barMin it draws nothing. Only what is whole is drawn full.
func (l look) bar(percent float64, width int) string {
	if width < barMin {
		return ""
	}
	inner := width - 2
	if !l.blocks {
		full := int(percent / 100 * float64(inner))
		return "[" + strings.Repeat("#", full) + strings.Repeat(".", inner-full) + "]"
	}
	const eighths = 8
	parts := []rune(" ▏▎▍▌▋▊▉")
	filled := int(percent / 100 * float64(inner*eighths))
	full, part := filled/eighths, filled%eighths
	drawn := strings.Repeat("█", full)
	if full < inner {
		drawn += string(parts[part]) + strings.Repeat(" ", inner-full-1)
	}
	return "▕" + drawn + "▏"
}
