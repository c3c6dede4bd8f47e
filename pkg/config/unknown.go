package config

import (
	"slices"
	"strings"
)

// nearEnough is how many letters a name may differ by for a known one to be suggested.
const nearEnough = 3

// unknown says that what ("key", "variable") is not known under name, and which of
// the known names was probably meant.
func unknown(what, name string, known []string) string {
	slices.Sort(known)
	best, least := "", nearEnough+1
	for _, k := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(k)); d < least && d < len(k)/2 {
			best, least = k, d
		}
	}
	if best == "" {
		return "unknown " + what
	}
	return "unknown " + what + "; did you mean " + best + "?"
}

// distance is the number of letters to insert, delete or replace to get from a to b
// (Levenshtein, 1965). Names longer than any key are far from everything.
func distance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return nearEnough + 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
